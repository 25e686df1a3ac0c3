/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CHECK: somebody got a wrong block from us, or misses one: read it, decode it, prove its id. What
 * is wrong goes to damage.c; what we lack though it is ours to hold we owe to ourselves, and
 * repay.c fetches it.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct check_job {
	struct check_job *next;
	struct cs_server *server;
	struct rpc_request *req;
	struct cs_get get;
	struct cs_verify verify;
};

static void check_end(struct check_job *job, int rc, bool is_held, bool was_wrong)
{
	struct cs_server *s = job->server;
	Wire__CheckReply reply = WIRE__CHECK_REPLY__INIT;

	reply.held = is_held;
	reply.was_wrong = was_wrong;
	rpc_answer(job->req, rc, &reply.base, NULL);
	buf_put(job->get.record);
	job->get.record = NULL;
	job->req = NULL;
	s->jobs--;
	LL_PREPEND(s->checks_free, job);
}

static void check_wrong(struct check_job *job)
{
	int rc = cs_damage_report(job->server, job->get.store, &job->get.id, &job->get.place);

	check_end(job, rc, true, true);
}

/* The index does not have it. */
static void check_absent(struct check_job *job)
{
	struct cs_server *s = job->server;
	const struct pg_row *row = map_pg(s->map, block_id_pg(&job->get.id));
	int rc = 0;

	if (s->number != 0 && pg_row_has(row, s->number))
		rc = cs_owed_add(s->owed, &job->get.id, s->number);
	check_end(job, rc, false, false);
}

static void check_verified(struct cs_verify *verify)
{
	struct check_job *job = container_of(verify, struct check_job, verify);

	if (verify->rc < 0)
		check_wrong(job);
	else
		check_end(job, 0, true, false);
}

static void check_got(struct cs_get *get)
{
	struct check_job *job = container_of(get, struct check_job, get);

	if (get->rc == -E_NO_BLOCK) {
		check_absent(job);
	} else if (get->rc == -E_CORRUPT) {
		check_wrong(job);
	} else if (get->rc < 0) {
		check_end(job, get->rc, true, false);
	} else {
		job->verify = (struct cs_verify){.record = get->record, .done = check_verified};
		cs_verify_start(job->server->verifier, &job->verify);
	}
}

void cs_serve_check(struct cs_server *s, struct rpc_request *req)
{
	const Wire__Check *msg = (const Wire__Check *)req->msg;
	struct check_job *job = s->checks_free;

	if (job == NULL) {
		rpc_answer(req, -E_OVERLOADED, NULL, NULL);
		return;
	}
	LL_DELETE(s->checks_free, job);
	s->jobs++;
	job->server = s;
	job->req = req;
	job->get = (struct cs_get){.done = check_got};
	ASSERT(msg->id.len == BLOCK_ID_BYTES);
	memcpy(job->get.id.bytes, msg->id.data, BLOCK_ID_BYTES);
	cs_disks_get(s->disks, &job->get);
}

int cs_serve_check_init(struct cs_server *s)
{
	s->checks = calloc(SERVE_CHECKS_MAX, sizeof(*s->checks));
	if (s->checks == NULL)
		return -E_NOMEM;
	for (uint32_t i = 0; i < SERVE_CHECKS_MAX; i++)
		LL_PREPEND(s->checks_free, &s->checks[i]);
	return 0;
}

void cs_serve_check_finish(struct cs_server *s)
{
	for (uint32_t i = 0; s->checks != NULL && i < SERVE_CHECKS_MAX; i++) {
		buf_put(s->checks[i].get.record);
		if (s->checks[i].req != NULL)
			rpc_answer(s->checks[i].req, -E_SHUTDOWN, NULL, NULL);
	}
	free(s->checks);
	s->checks = NULL;
}
