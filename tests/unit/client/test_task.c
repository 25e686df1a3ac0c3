/* SPDX-License-Identifier: Apache-2.0 */
/* What pending signals mean to a thread: a child that is stopped keeps them pending. */
#include "client/fuse/task.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check_main.h"

static void handler(int signo)
{
	(void)signo;
}

static pid_t child_start(void)
{
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		sigset_t blocked;

		sigemptyset(&blocked);
		sigaddset(&blocked, SIGUSR2);
		sigprocmask(SIG_BLOCK, &blocked, NULL);
		signal(SIGUSR1, handler);
		signal(SIGPIPE, SIG_IGN);
		signal(SIGQUIT, SIG_DFL);	/* who is started in the background ignores it */
		raise(SIGSTOP);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
	ck_assert(WIFSTOPPED(status));
	return child;
}

static void child_end(pid_t child)
{
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

START_TEST(signals_that_end_no_call)
{
	static const int signals[] = { SIGUSR2, SIGPIPE, SIGCHLD, SIGURG, SIGTSTP };
	pid_t child = child_start();

	ck_assert_int_eq(task_signal(child), CL_SIGNAL_NONE);
	for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
		kill(child, signals[i]);
		ck_assert_int_eq(task_signal(child), CL_SIGNAL_NONE);
	}
	child_end(child);
}
END_TEST

START_TEST(a_signal_with_a_handler_is_caught_until_a_fatal_one_comes)
{
	pid_t child = child_start();

	kill(child, SIGUSR1);
	ck_assert_int_eq(task_signal(child), CL_SIGNAL_CAUGHT);
	kill(child, SIGQUIT);
	ck_assert_int_eq(task_signal(child), CL_SIGNAL_FATAL);
	child_end(child);
}
END_TEST

START_TEST(of_who_cannot_be_seen_nothing_is_known)
{
	pid_t child = child_start();

	child_end(child);
	ck_assert_int_eq(task_signal(child), CL_SIGNAL_CAUGHT);
	ck_assert_int_eq(task_signal(0), CL_SIGNAL_CAUGHT);
}
END_TEST

TEST_MAIN("task", tcase_add_test(tc, signals_that_end_no_call);
	  tcase_add_test(tc, a_signal_with_a_handler_is_caught_until_a_fatal_one_comes);
	  tcase_add_test(tc, of_who_cannot_be_seen_nothing_is_known))
