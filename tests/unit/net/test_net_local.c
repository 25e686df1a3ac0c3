/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix sockets beside TCP: who is found under which address, and who is not believed.
 */
#include "fs/net/net_local.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check_main.h"

#define NOBODY 65534

static struct sockaddr_storage address(const char *host, uint16_t port)
{
	struct sockaddr_storage a = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, host, &v6->sin6_addr), 1);
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
	}
	return a;
}

/* Ports of TCP are not touched: the names are ours alone as long as nobody runs this test twice. */
static uint16_t port(void)
{
	return (uint16_t)(getpid() % 20000 + 1);
}

static int listen_at(const char *host)
{
	struct sockaddr_storage a = address(host, port());
	int fd = net_local_bind((struct sockaddr *)&a);

	if (fd >= 0)
		ck_assert_int_eq(listen(fd, 5), 0);
	return fd;
}

/* 1: found, 0: not. */
static int finds(const char *host)
{
	struct sockaddr_storage a = address(host, port());
	int fd = net_local_connect((struct sockaddr *)&a);

	if (fd < 0) {
		ck_assert_int_eq(fd, -E_NOTCONN);
		return 0;
	}
	ck_assert_int_eq(net_local_peer(fd), getpid());
	net_local_tune(fd);
	close(fd);
	return 1;
}

START_TEST(a_listener_is_found_under_its_address_and_no_other)
{
	int fd = listen_at("127.0.0.1");

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(listen_at("127.0.0.1"), -E_ADDRINUSE);
	ck_assert(finds("127.0.0.1"));
	ck_assert(!finds("127.0.0.2"));
	ck_assert(!finds("::1"));
	ck_assert(!finds("192.0.2.1"));		/* nobody's: for documentation */
	close(fd);
	ck_assert(!finds("127.0.0.1"));
}
END_TEST

START_TEST(one_that_listens_everywhere_is_found_under_all_addresses_of_this_host)
{
	int fd = listen_at("0.0.0.0");

	ck_assert(finds("127.0.0.1"));
	ck_assert(finds("127.9.9.9"));
	ck_assert(!finds("192.0.2.1"));
	ck_assert(!finds("::1"));
	close(fd);
	fd = listen_at("::");
	ck_assert(finds("127.0.0.1"));
	ck_assert(finds("::1"));
	close(fd);
}
END_TEST

START_TEST(a_stranger_is_not_believed)
{
	int ready[2], over[2];
	char byte = 0;

	if (geteuid() != 0)
		return;			/* who else could be a stranger? */
	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(over), 0);
	pid_t child = fork();
	if (child == 0) {
		/* it waits for `over` to be closed */
		if (setuid(NOBODY) != 0 || listen_at("127.0.0.1") < 0 ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		close(over[1]);
		_exit(read(over[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(over[0]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert(!finds("127.0.0.1"));
	close(over[1]);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

TEST_MAIN("net_local",
	  tcase_add_test(tc, a_listener_is_found_under_its_address_and_no_other);
	  tcase_add_test(tc, one_that_listens_everywhere_is_found_under_all_addresses_of_this_host);
	  tcase_add_test(tc, a_stranger_is_not_believed))
