/* SPDX-License-Identifier: Apache-2.0 */
/* cairn status: health at a glance. Exit status: 0 healthy, 1 not, 2 usage, 3 unreachable. */
#include "tools/command.h"

#include <stdio.h>

#include "fs/base/text.h"
#include "fs/codec/codec.h"
#include "fs/placement/map.h"
#include "tools/admin.h"
#include "tools/local_mounts.h"
#include "tools/media_status.h"
#include "tools/mount_client.h"
#include "tools/status.h"

#define SILENT_MS 2000u /* two beats */

static void print_server(const Wire__ServerStatus *server)
{
	char stored[TEXT_BYTES_HUMAN], left[TEXT_BYTES_HUMAN];

	printf("  server %-3u %-8s %-22s", server->server,
	       server_state_name((enum server_state)server->state), server->address);
	if (status_is_heard(server))
		printf(" %10llu blocks %10s stored %10s free", (unsigned long long)server->blocks,
		       text_bytes_human(stored, server->bytes_stored),
		       text_bytes_human(left, server->bytes_free));
	if (server->heartbeat_age_ms >= SILENT_MS)
		printf("  silent for %llu s", (unsigned long long)server->heartbeat_age_ms / 1000);
	putchar('\n');
}

static void print_servers(const struct status *s)
{
	const Wire__StatusReply *r = s->reply;

	for (size_t i = 0; i < r->n_servers; i++)
		if (r->servers[i]->state != SERVER_REMOVED)
			print_server(r->servers[i]);
	if (s->servers_unheard)
		printf("  %u servers have told nothing yet since the metadata server started: "
		       "sums leave them out\n",
		       s->servers_unheard);
}

static void print_tiers(const Wire__StatusReply *r)
{
	for (size_t i = 0; i < r->n_servers; i++) {
		Wire__MediaStatus *media = media_status_read(r->servers[i]);

		if (r->servers[i]->state != SERVER_REMOVED)
			media_status_print_tiers(media, r->servers[i]->server);
		media_status_free(media);
	}
}

static void print_garbage(const Wire__StatusReply *r)
{
	char trash[TEXT_BYTES_HUMAN], dead[TEXT_BYTES_HUMAN];

	if (r->deleted_files)
		printf("  %llu of the files, %s, are deleted and kept for a time: cairn trash\n",
		       (unsigned long long)r->deleted_files,
		       text_bytes_human(trash, r->deleted_bytes));
	if (r->blocks_trash || r->bytes_dead)
		printf("  garbage: %s in trash, %s freed and not yet given back\n",
		       text_bytes_human(trash, r->bytes_stored_trash),
		       text_bytes_human(dead, r->bytes_dead));
	if (r->gc && r->gc->running)
		printf("  collecting garbage%s: %llu of about %llu files%s%s\n",
		       r->gc->dry_run ? " (dry run)" : "", (unsigned long long)r->gc->roots_done,
		       (unsigned long long)r->gc->roots_total,
		       r->gc->waits_for[0] ? "; waits for " : "", r->gc->waits_for);
}

static void print_codecs(const struct status *s)
{
	const Wire__StatusReply *r = s->reply;
	uint64_t sum = 0;

	for (size_t i = 0; i < r->n_codec_bytes; i++)
		sum += r->codec_bytes[i];
	if (sum == 0)
		return;
	printf("  stored as:");
	for (unsigned i = 0; i < r->n_codec_bytes; i++)
		if (r->codec_bytes[i] && codec_is_known(i))
			printf(" %s %.1f %%", codec_name((enum codec)i),
			       100.0 * (double)r->codec_bytes[i] / (double)sum);
	putchar('\n');
}

static void print_reencode(const Wire__ServerStatus *server)
{
	const Wire__ReencodeStatus *r = server->reencode;
	char before[TEXT_BYTES_HUMAN], after[TEXT_BYTES_HUMAN];

	if (!r || !r->turn)
		return;
	printf("  encoding anew: server %u, %llu blocks in this pass, %s became %s\n",
	       server->server, (unsigned long long)r->blocks,
	       text_bytes_human(before, r->bytes_before), text_bytes_human(after, r->bytes_after));
}

static void print_people(const struct status *s)
{
	const Wire__StatusReply *r = s->reply;
	char logical[TEXT_BYTES_HUMAN], unique[TEXT_BYTES_HUMAN], stored[TEXT_BYTES_HUMAN];

	printf("%s: %u of %u servers up, %u of %u placement groups have all copies\n",
	       s->is_healthy ? "healthy" : "NOT HEALTHY", s->servers_up, s->servers_known,
	       r->pgs_clean, r->pgs_total);
	printf("%llu file%s, %llu director%s; %s of files, %s unique, %s stored in %u copies%s\n",
	       (unsigned long long)r->files, r->files == 1 ? "" : "s",
	       (unsigned long long)r->directories, r->directories == 1 ? "y" : "ies",
	       text_bytes_human(logical, r->bytes_logical),
	       text_bytes_human(unique, s->bytes_unique), text_bytes_human(stored, s->bytes_stored),
	       r->copies, s->hash == HASH_SHA3_256 ? ", named by SHA3-256" : "");
	print_servers(s);
	if (r->pgs_healing)
		printf("  healing: %u placement groups, %s\n", r->pgs_healing, s->heal_text);
	else if (r->heal_pending_blocks || r->owed)
		printf("  healing: %s\n", s->heal_text);
	print_tiers(r);
	print_garbage(r);
	print_codecs(s);
	for (size_t i = 0; i < r->n_servers; i++)
		print_reencode(r->servers[i]);
	if (r->lock_waits)
		printf("  locks: %llu held, %llu waited for; see cairn locks\n",
		       (unsigned long long)r->locks, (unsigned long long)r->lock_waits);
	for (size_t i = 0; i < r->n_warnings; i++)
		printf("  warning: %s (%s)\n", r->warnings[i]->text, r->warnings[i]->code);
}

static void print_mount(const json_t *mount)
{
	const char *directory = mount_text(mount, "directory");
	const char *passthrough = mount_text(mount, "passthrough");
	const json_t *tier;
	size_t i;

	if (!json_is_true(json_object_get(mount, "answers"))) {
		printf("  mount %s does not answer (%s)\n", directory, mount_text(mount, "source"));
		return;
	}
	if (!json_array_size(json_object_get(mount, "tiers"))) {
		printf("  mount %s: no cache tier\n", directory);
		return;
	}
	printf("  mount %s: the kernel reads cached files %s%s\n", directory,
	       *passthrough ? "through the mount: " : "itself", passthrough);
	json_array_foreach(json_object_get(mount, "tiers"), i, tier)
		if (json_is_true(json_object_get(tier, "broken")))
			printf("  mount %s: cache tier %s is not used: %s\n", directory,
			       mount_text(tier, "directory"), mount_text(tier, "problem"));
}

/* Lost is the metadata server; who waits for it on this host can be said without it. */
static void print_unreachable(const struct command_target *a)
{
	struct error err = {0};
	char mds[256];

	if (a->json || admin_find(a->mds, mds, sizeof mds, &err) < 0 ||
	    !local_mounts_print_waiting(mds))
		return;
	printf("  calls go on once it is back; each ends by a signal, on a soft mount at its "
	       "deadline,\n  all of a mount by `umount -f`\n");
}

/* Mounts on this host: what they say does not change the health of the cluster. */
static json_t *mounts_of(const struct status *s, const char *given_mds)
{
	const ProtobufCBinaryData *cluster = &s->reply->cluster;
	struct error err = {0};
	char mds[256];

	if (cluster->len != 16 || admin_find(given_mds, mds, sizeof mds, &err) < 0)
		return json_array();
	return local_mounts(cluster->data, mds);
}

static int report(const struct status *s, const struct command_target *a)
{
	json_t *mounts = mounts_of(s, a->mds), *all, *mount;
	int status = COMMAND_DONE;
	size_t i;

	if (a->json) {
		all = status_json(s);
		json_object_set(all, "mounts", mounts);
		status = status_print_json(all);
	} else {
		print_people(s);
		json_array_foreach(mounts, i, mount)
			print_mount(mount);
	}
	json_decref(mounts);
	return status;
}

int cmd_status(int argc, char **argv)
{
	struct command_target a;
	struct status s;
	struct error err = {0};
	int status;

	if (!status_arguments_parse(argc, argv, "Show the health of the file system.", &a))
		return COMMAND_USAGE;
	if (status_get(a.mds, &s, &err) < 0) {
		(void)command_fail("status", &err);
		print_unreachable(&a);
		return COMMAND_UNREACHABLE;
	}
	status = report(&s, &a);
	if (status == COMMAND_DONE && !s.is_healthy)
		status = COMMAND_FAILED;
	status_finish(&s);
	return status;
}
