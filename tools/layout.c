/* SPDX-License-Identifier: Apache-2.0 */
/* The layout as JSON, and the configuration made from it. */
#include "tools/layout.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/config.h"
#include "fs/base/text.h"

/*
 * Below the kernel's own range for outgoing connections, so that nobody takes a port while its
 * server is down.
 */
#define PORT_MIN   12000u
#define PORT_COUNT 20000u
#define LAYOUT_OUT_MS "10s"
#define MDS_PORT   7800u	/* the well-known one; chunk servers follow it */

void layout_finish(struct layout *l)
{
	for (uint32_t i = 0; i < l->set_count; i++)
		free(l->sets[i]);
	memset(l, 0, sizeof *l);
}

char *layout_path(const struct layout *l, char out[PATH_MAX], const char *name, const char *suffix)
{
	int n = snprintf(out, PATH_MAX, "%s/%s%s", l->dir, name, suffix);

	ASSERT(n > 0 && n < PATH_MAX);	/* layout_plan and layout_load bound dir */
	return out;
}

char *layout_numbered(const struct layout *l, char out[PATH_MAX], const char *name, uint32_t number)
{
	char numbered[32], path[PATH_MAX];

	snprintf(numbered, sizeof numbered, "%s%u", name, number);
	layout_path(l, path, numbered, "");
	return memcpy(out, path, sizeof path);
}

int layout_parse_name(const char *name, enum layout_role *role, uint32_t *index)
{
	static const struct { const char *prefix; enum layout_role role; uint32_t max; } kinds[] = {
		{ "cs", LAYOUT_CS, LAYOUT_SERVERS_MAX },
		{ "client", LAYOUT_CLIENT, LAYOUT_MOUNTS_MAX },
	};
	uint64_t number;

	if (strcmp(name, "mds") == 0) {
		*role = LAYOUT_MDS;
		*index = 0;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
		size_t len = strlen(kinds[i].prefix);

		if (strncmp(name, kinds[i].prefix, len) != 0 ||
		    text_parse_u64(name + len, &number) < 0 || number < 1 || number > kinds[i].max)
			continue;
		*role = kinds[i].role;
		*index = (uint32_t)number - 1;
		return 0;
	}
	return -E_INVAL;
}

/* --- ports ------------------------------------------------------------------------------------ */

static bool port_is_free(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	bool is_free;

	if (fd < 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	is_free = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
	close(fd);
	return is_free;
}

static bool port_is_planned(const struct layout *l, uint16_t port)
{
	if (l->mds_port == port)
		return true;
	for (uint32_t i = 0; i < l->server_count; i++)
		if (l->cs_ports[i] == port)
			return true;
	return false;
}

/*
 * The wanted one if it is free. Else random, so that several clusters planned at once seldom meet.
 */
static int port_choose(const struct layout *l, uint16_t wanted, uint16_t *out, struct error *err)
{
	if (wanted && !port_is_planned(l, wanted) && port_is_free(wanted)) {
		*out = wanted;
		return 0;
	}
	for (int tries = 0; tries < 1000; tries++) {
		uint32_t r;
		uint16_t port;

		if (getrandom(&r, sizeof r, 0) != sizeof r)
			continue;
		port = (uint16_t)(PORT_MIN + r % PORT_COUNT);
		if (!port_is_planned(l, port) && port_is_free(port)) {
			*out = port;
			return 0;
		}
	}
	return error_say(err, -E_ADDRINUSE, "cannot find a free port on 127.0.0.1");
}

/* --- planning --------------------------------------------------------------------------------- */

int layout_add_server(struct layout *l, struct error *err)
{
	uint32_t i = l->server_count;
	int rc;

	if (i == LAYOUT_SERVERS_MAX)
		return error_say(err, -E_TOOBIG, "at most %u chunk servers on one host",
				 LAYOUT_SERVERS_MAX);
	rc = port_choose(l, (uint16_t)(l->mds_port == MDS_PORT ? MDS_PORT + 1 + i : 0),
			 &l->cs_ports[i], err);
	if (rc < 0)
		return rc;
	layout_numbered(l, l->cs_dirs[i], "cs", i + 1);
	l->server_count++;
	return 0;
}

int layout_add_set(struct layout *l, const char *set, struct error *err)
{
	size_t key_bytes = strcspn(set, "=");

	/* The later word about a setting replaces the earlier. */
	for (uint32_t i = 0; i < l->set_count; i++) {
		if (strncmp(l->sets[i], set, key_bytes + 1) != 0)
			continue;
		free(l->sets[i]);
		l->sets[i] = l->sets[--l->set_count];
		break;
	}
	if (l->set_count == LAYOUT_SETS_MAX)
		return error_say(err, -E_TOOBIG, "at most %u --set options", LAYOUT_SETS_MAX);
	l->sets[l->set_count] = strdup(set);
	if (!l->sets[l->set_count])
		return error_set(err, -E_NOMEM, "cannot keep '%s'", set);
	l->set_count++;
	return 0;
}

int layout_plan(struct layout *l, const struct layout_options *o, struct error *err)
{
	int rc;

	memset(l, 0, sizeof *l);
	if (strlen(o->dir) > PATH_MAX - 64 ||
	    !text_copy(l->address, sizeof l->address,
		       o->address ? o->address : LAYOUT_ADDRESS_ALONE))
		return error_set(err, -E_NAMETOOLONG, "cannot use '%s'", o->dir);
	(void)text_copy(l->dir, sizeof l->dir, o->dir);
	l->copies = o->copies;
	l->with_acl = o->with_acl;
	l->hash = o->hash ? o->hash : HASH_SHA256;
	l->mount_count = o->mounts;
	rc = port_choose(l, o->port, &l->mds_port, err);
	for (uint32_t i = 0; rc == 0 && i < o->servers; i++)
		rc = layout_add_server(l, err);
	for (uint32_t i = 0; i < o->mounts; i++)
		layout_numbered(l, l->mount_dirs[i], "mnt", i + 1);
	return rc;
}

/* --- keeping ---------------------------------------------------------------------------------- */

static json_t *layout_json(const struct layout *l)
{
	json_t *servers = json_array(), *mounts = json_array(), *sets = json_array();

	for (uint32_t i = 0; i < l->server_count; i++)
		json_array_append_new(servers, json_pack("{s:i, s:s}", "port", (int)l->cs_ports[i],
							 "dir", l->cs_dirs[i]));
	for (uint32_t i = 0; i < l->mount_count; i++)
		json_array_append_new(mounts, json_string(l->mount_dirs[i]));
	for (uint32_t i = 0; i < l->set_count; i++)
		json_array_append_new(sets, json_string(l->sets[i]));
	return json_pack("{s:s, s:b, s:s, s:i, s:i, s:o, s:o, s:o}", "address", l->address, "acl",
			 (int)l->with_acl, "hash", block_id_hash_name(l->hash), "copies",
			 (int)l->copies, "mds_port", (int)l->mds_port, "servers", servers, "mounts",
			 mounts, "sets", sets);
}

static bool sets_option(const struct layout *l, const char *name)
{
	size_t len = strlen(name);

	for (uint32_t i = 0; i < l->set_count; i++)
		if (strncmp(l->sets[i], name, len) == 0 && l->sets[i][len] == '=')
			return true;
	return false;
}

/*
 * What differs from cairn.conf(5) on one host: a server that is silent here was killed, and is not
 * cut off by a network, so its share goes to others soon; a disk that is back catches up by
 * comparing. Where other hosts may join, one that boots is not worth moving its share.
 */
static void save_defaults(const struct layout *l, FILE *f)
{
	bool is_alone = strcmp(l->address, LAYOUT_ADDRESS_ALONE) == 0;

	if (is_alone && !sets_option(l, "server.out_ms") && !sets_option(l, "server.down_ms"))
		fprintf(f, "[server]\nout_ms = %s\n", LAYOUT_OUT_MS);
}

/* The configuration that processes and commands of this cluster read. */
static int save_config(const struct layout *l, struct error *err)
{
	char path[PATH_MAX];
	FILE *f = fopen(layout_path(l, path, "cairn", ".conf"), "we");

	if (!f)
		return error_set(err, error_from_errno(errno), "cannot write '%s'", path);
	fprintf(f, "; written by cairn; settings of this cluster on one host\n"
		   "[cluster]\nmds = %s:%u\n", l->address, l->mds_port);
	save_defaults(l, f);
	for (uint32_t i = 0; i < l->set_count; i++) {
		const char *dot = strchr(l->sets[i], '.'), *equals = strchr(l->sets[i], '=');

		if (dot && equals && dot < equals)
			fprintf(f, "[%.*s]\n%.*s = %s\n", (int)(dot - l->sets[i]), l->sets[i],
				(int)(equals - dot - 1), dot + 1, equals + 1);
	}
	if (fclose(f) != 0)
		return error_set(err, error_from_errno(errno), "cannot write '%s'", path);
	return 0;
}

int layout_save(const struct layout *l, struct error *err)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	json_t *json = layout_json(l);
	int rc;

	if (!json)
		return error_set(err, -E_NOMEM, "cannot keep the layout of '%s'", l->dir);
	layout_path(l, temporary, "cluster", ".json.new");
	rc = json_dump_file(json, temporary, JSON_INDENT(2) | JSON_SORT_KEYS);
	json_decref(json);
	if (rc != 0 || rename(temporary, layout_path(l, path, "cluster", ".json")) != 0)
		return error_set(err, error_from_errno(errno ? errno : EIO), "cannot write '%s'",
				 layout_path(l, path, "cluster", ".json"));
	return save_config(l, err);
}

static int take_json(struct layout *l, const json_t *json)
{
	const json_t *servers = json_object_get(json, "servers"),
		     *mounts = json_object_get(json, "mounts");
	const json_t *sets = json_object_get(json, "sets"), *item;
	size_t i;

	const char *address = json_string_value(json_object_get(json, "address"));
	const char *hash = json_string_value(json_object_get(json, "hash"));

	l->copies = (uint32_t)json_integer_value(json_object_get(json, "copies"));
	l->with_acl = json_is_true(json_object_get(json, "acl"));
	l->mds_port = (uint16_t)json_integer_value(json_object_get(json, "mds_port"));
	if (json_array_size(servers) > LAYOUT_SERVERS_MAX ||
	    json_array_size(mounts) > LAYOUT_MOUNTS_MAX ||
	    json_array_size(sets) > LAYOUT_SETS_MAX || !l->copies || !l->mds_port || !address ||
	    !hash || block_id_hash_parse(hash, &l->hash) < 0 ||
	    !text_copy(l->address, sizeof l->address, address))
		return -E_MALFORMED;
	json_array_foreach(servers, i, item) {
		const char *dir = json_string_value(json_object_get(item, "dir"));

		l->cs_ports[i] = (uint16_t)json_integer_value(json_object_get(item, "port"));
		if (!dir || !text_copy(l->cs_dirs[i], PATH_MAX, dir))
			return -E_MALFORMED;
		l->server_count++;
	}
	json_array_foreach(mounts, i, item) {
		if (!json_is_string(item) ||
		    !text_copy(l->mount_dirs[i], PATH_MAX, json_string_value(item)))
			return -E_MALFORMED;
		l->mount_count++;
	}
	json_array_foreach(sets, i, item) {
		struct error ignored;

		if (!json_is_string(item) ||
		    layout_add_set(l, json_string_value(item), &ignored) < 0)
			return -E_MALFORMED;
	}
	return 0;
}

int layout_load(struct layout *l, const char *dir, struct error *err)
{
	char path[PATH_MAX];
	json_error_t why;
	json_t *json;
	int rc;

	memset(l, 0, sizeof *l);
	if (strlen(dir) > PATH_MAX - 64)
		return error_set(err, -E_NAMETOOLONG, "cannot use '%s'", dir);
	(void)text_copy(l->dir, sizeof l->dir, dir);
	layout_path(l, path, "cluster", ".json");
	if (access(path, F_OK) != 0)
		return error_set(err, -E_NOENT, "no cluster in '%s'", dir);
	json = json_load_file(path, 0, &why);
	if (!json)
		return error_say(err, -E_MALFORMED, "cannot read '%s': line %d: %s", path, why.line,
				 why.text);
	rc = take_json(l, json);
	json_decref(json);
	if (rc < 0) {
		layout_finish(l);
		return error_say(err, rc,
				 "cannot use '%s': it is damaged, or of another version of cairn; "
				 "stop what runs there with that version, and begin in another "
				 "folder",
				 path);
	}
	return 0;
}
