// SPDX-License-Identifier: GPL-2.0-or-later
// Lets a program's rtnetlink socket lead to the UNIX socket named by $CLSBPF_SHIM instead of the kernel
// (LD_PRELOAD), so that the real tc can be asked what it makes of another's answers.  With
// $CLSBPF_SHIM_DAEMON what answers is a daemon: it is asked for the socket's address, and told of options.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define FDS 1024
#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)

#define SOCKET_MESSAGE 0xcb10	/* daemon/wire.py */
#define ADD_MEMBERSHIP 2
#define EXT_ACK 4

static char ours[FDS];
static unsigned int portid[FDS];

static int is_ours(int fd)
{
	return fd >= 0 && fd < FDS && ours[fd];
}

/* Sets an option of the daemon's; with an answer, which must be the only thing that comes. */
static void set_option(int fd, unsigned short option, unsigned int value, int answered)
{
	struct {
		struct nlmsghdr header;
		struct nlattr attr;
		unsigned int value;
	} message = {
		{ sizeof(message), SOCKET_MESSAGE, NLM_F_REQUEST | (answered ? NLM_F_ACK : 0), 0, 0 },
		{ 8, option },
		value,
	};

	if (!getenv("CLSBPF_SHIM_DAEMON"))
		return;
	send(fd, &message, sizeof(message), 0);
	if (answered && recv(fd, &message, sizeof(message), 0) == sizeof(message))
		portid[fd] = message.header.nlmsg_pid;
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
	portid[fd] = 0;
	set_option(fd, EXT_ACK, 0, 1);
	return fd;
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	NEXT(bind);
	if (!is_ours(fd))
		return next(fd, address, length);
	for (int group = 1; group <= 32; group++)
		if (((const struct sockaddr_nl *)address)->nl_groups >> (group - 1) & 1)
			set_option(fd, ADD_MEMBERSHIP, group, 0);
	return 0;
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
	((struct sockaddr_nl *)address)->nl_pid = portid[fd];
	*length = sizeof(struct sockaddr_nl);
	return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	NEXT(setsockopt);
	if (!is_ours(fd) || level == SOL_SOCKET)
		return next(fd, level, name, value, length);
	if (name == NETLINK_EXT_ACK)
		set_option(fd, EXT_ACK, *(const int *)value, 0);
	if (name == NETLINK_ADD_MEMBERSHIP)
		set_option(fd, ADD_MEMBERSHIP, *(const int *)value, 0);
	return 0;
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
