// SPDX-License-Identifier: GPL-2.0-or-later
// Lets a program's rtnetlink socket lead to the UNIX socket named by $CLSBPF_SHIM instead of the kernel
// (LD_PRELOAD), so that the real tc can be asked what it makes of another's answers.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define FDS 1024
#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)

static char ours[FDS];

static int is_ours(int fd)
{
	return fd >= 0 && fd < FDS && ours[fd];
}

int socket(int domain, int type, int protocol)
{
	NEXT(socket);
	const char *path = getenv("CLSBPF_SHIM");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd;

	if (domain != AF_NETLINK || protocol != NETLINK_ROUTE || !path)
		return next(domain, type, protocol);
	fd = next(AF_UNIX, SOCK_SEQPACKET | (type & SOCK_CLOEXEC), 0);
	strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
	if (fd < 0 || fd >= FDS || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return -1;
	ours[fd] = 1;
	return fd;
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	NEXT(bind);
	return is_ours(fd) ? 0 : next(fd, address, length);
}

static void fill(void *address)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	memcpy(address, &kernel, sizeof(kernel));
}

int getsockname(int fd, struct sockaddr *restrict address, socklen_t *restrict length)
{
	NEXT(getsockname);
	if (!is_ours(fd))
		return next(fd, address, length);
	fill(address);
	*length = sizeof(struct sockaddr_nl);
	return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	NEXT(setsockopt);
	return is_ours(fd) && level != SOL_SOCKET ? 0 : next(fd, level, name, value, length);
}

int close(int fd)
{
	NEXT(close);
	if (is_ours(fd))
		ours[fd] = 0;
	return next(fd);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	NEXT(sendmsg);
	struct msghdr plain = *message;

	if (is_ours(fd)) {
		plain.msg_name = NULL;
		plain.msg_namelen = 0;
	}
	return next(fd, &plain, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	NEXT(recvmsg);
	struct msghdr plain = *message;
	ssize_t got;

	if (!is_ours(fd))
		return next(fd, message, flags);
	plain.msg_name = NULL;
	plain.msg_namelen = 0;
	got = next(fd, &plain, flags);
	message->msg_flags = plain.msg_flags;
	message->msg_controllen = 0;
	if (message->msg_name && message->msg_namelen >= sizeof(struct sockaddr_nl)) {
		fill(message->msg_name);
		message->msg_namelen = sizeof(struct sockaddr_nl);
	}
	return got;
}
