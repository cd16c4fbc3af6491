/* A function that is global for the linker only: to a verifier it is a static one. */
#define SEC(name) __attribute__((section(name), used))

struct __sk_buff;

__attribute__((visibility("hidden"), noinline)) char *hidden(struct __sk_buff *skb)
{
	asm volatile("" : "+r"(skb));
	return (char *)skb + 4;
}

__attribute__((noinline)) int shown(struct __sk_buff *skb)
{
	asm volatile("");
	return 1;
}

SEC("tc") int main_program(struct __sk_buff *skb)
{
	return hidden(skb) != 0 && shown(skb);
}

char _license[] SEC("license") = "GPL";
