/* SPDX-License-Identifier: Apache-2.0 */
/* What was found about a tree, for people and programs (cairn-df(1)). */
#include "tools/usage_report.h"

#include <stdio.h>
#include <string.h>

#include "fs/base/text.h"

#define PAIRS_SHOWN 16u
#define PERCENT	    100.0

/* --- figures ----------------------------------------------------------------------- */

static double ratio_of(double plain, double stored)
{
	return plain > 0 && stored > 0 ? plain / stored : 1.0;
}

/* Stored bytes otherwise: each copy of each block at the ratio of those that were tried. */
struct what_if {
	double stored, bound;
};

static struct what_if what_if_of(const struct usage *u, const struct usage_sums *s)
{
	double rate = sample_rate(u->sample);
	double plain = s->codec.above / rate; /* of all copies */
	double ratio = estimate_ratio_value(&s->what_if);
	double unique = estimate_total(&s->unique, rate);
	double spread = unique > 0 ? estimate_bound(&s->unique, rate) / unique : 0;

	return (struct what_if){
		.stored = plain * ratio,
		.bound = plain * estimate_ratio_bound(&s->what_if, u->what_if_rate) +
			 plain * ratio * spread,
	};
}

/* Sorted by what they hold: the largest first. */
static double size_of(const struct usage *u, const struct usage_group *g)
{
	return u->by == USAGE_BY_CODEC ? estimate_total(&g->sums.unique, sample_rate(u->sample))
				       : (double)g->logical;
}

static uint32_t sort_groups(const struct usage *u, uint32_t order[SAMPLE_GROUPS])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < u->group_count; i++) {
		uint32_t k = count;

		if (size_of(u, &u->groups[i]) <= 0 && u->groups[i].files == 0)
			continue;
		for (; k > 0 && size_of(u, &u->groups[order[k - 1]]) < size_of(u, &u->groups[i]);
		     k--)
			order[k] = order[k - 1];
		order[k] = i;
		count++;
	}
	return count;
}

struct pair {
	uint32_t a, b;
	double bytes, bound;
};

static uint32_t largest_pairs(const struct usage *u, struct pair out[PAIRS_SHOWN])
{
	double rate = sample_rate(u->sample);
	uint32_t count = 0;

	for (uint32_t i = 0; i < u->group_count * SAMPLE_GROUPS; i++) {
		const struct estimate *e = &u->pairs[i];
		struct pair pair = {i / SAMPLE_GROUPS, i % SAMPLE_GROUPS, estimate_total(e, rate),
				    estimate_bound(e, rate)};
		uint32_t k = count;

		if (e->sum <= 0 || (count == PAIRS_SHOWN && out[count - 1].bytes >= pair.bytes))
			continue;
		if (count == PAIRS_SHOWN)
			k--;
		else
			count++;
		for (; k > 0 && out[k - 1].bytes < pair.bytes; k--)
			out[k] = out[k - 1];
		out[k] = pair;
	}
	return count;
}

/* --- JSON -------------------------------------------------------------------------- */

static json_t *estimate_json(const struct usage *u, const struct estimate *e)
{
	double rate = sample_rate(u->sample);

	return json_pack("{s:I, s:I}", "bytes", (json_int_t)(estimate_total(e, rate) + 0.5),
			 "bound", (json_int_t)(estimate_bound(e, rate) + 0.5));
}

static json_t *what_if_json(const struct usage *u, const struct usage_sums *s)
{
	struct what_if w = what_if_of(u, s);

	return json_pack("{s:I, s:I, s:I, s:f}", "blocks", (json_int_t)s->what_if.count, "bytes",
			 (json_int_t)(w.stored + 0.5), "bound", (json_int_t)(w.bound + 0.5),
			 "codec", ratio_of(1, estimate_ratio_value(&s->what_if)));
}

static void set_sums(json_t *json, const struct usage *u, const struct usage_sums *s,
		     double in_blocks)
{
	double unique = estimate_total(&s->unique, sample_rate(u->sample));
	double dedup = ratio_of(in_blocks, unique), codec = estimate_ratio_value(&s->codec);

	json_object_set_new(json, "unique", estimate_json(u, &s->unique));
	json_object_set_new(json, "stored", estimate_json(u, &s->stored));
	json_object_set_new(json, "ratio",
			    json_pack("{s:f, s:f, s:f}", "dedup", dedup, "codec", codec, "total",
				      dedup * codec));
	if (u->what_if_rate > 0)
		json_object_set_new(json, "what_if", what_if_json(u, s));
}

static json_t *group_json(const struct usage *u, const struct usage_group *g)
{
	bool by_codec = u->by == USAGE_BY_CODEC;
	double logical = by_codec ? g->logical_estimated : (double)g->logical;
	json_t *json = json_pack("{s:s, s:I, s:I}", "name", g->name, "bytes_logical",
				 (json_int_t)logical, "bytes_inline", (json_int_t)g->inlined);

	if (!by_codec) {
		json_object_set_new(json, "files", json_integer((json_int_t)g->files));
		json_object_set_new(json, "bytes_holes", json_integer((json_int_t)g->holes));
		json_object_set_new(json, "own", estimate_json(u, &g->sums.own));
	}
	set_sums(json, u, &g->sums, logical - (double)g->holes - (double)g->inlined);
	return json;
}

json_t *usage_report_json(const struct usage *u, const char *path)
{
	uint32_t order[SAMPLE_GROUPS], count = sort_groups(u, order), pair_count;
	struct pair pairs[PAIRS_SHOWN];
	json_t *groups = json_array(), *shared = json_array();
	json_t *json = json_pack(
		"{s:s%, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:f, s:I}}", "path",
		path, strlen(path), "files", (json_int_t)u->files, "directories",
		(json_int_t)u->directories, "names_again", (json_int_t)u->again, "gone",
		(json_int_t)u->gone, "unreadable", (json_int_t)u->unreadable, "unanswered",
		(json_int_t)u->unanswered, "bytes_logical", (json_int_t)u->logical, "bytes_holes",
		(json_int_t)u->holes, "bytes_inline", (json_int_t)u->inlined, "blocks",
		(json_int_t)u->blocks, "sample", "rate", sample_rate(u->sample), "blocks",
		(json_int_t)sample_count(u->sample));

	if (!json)
		return NULL;
	set_sums(json, u, &u->total, (double)u->in_blocks);
	json_object_set_new(json, "manifests", estimate_json(u, &u->manifests.stored));
	for (uint32_t i = 0; i < count; i++)
		json_array_append_new(groups, group_json(u, &u->groups[order[i]]));
	pair_count = largest_pairs(u, pairs);
	for (uint32_t i = 0; i < pair_count; i++)
		json_array_append_new(shared, json_pack("{s:[s, s], s:I, s:I}", "groups",
							u->groups[pairs[i].a].name,
							u->groups[pairs[i].b].name, "bytes",
							(json_int_t)(pairs[i].bytes + 0.5), "bound",
							(json_int_t)(pairs[i].bound + 0.5)));
	json_object_set_new(json, "groups", groups);
	json_object_set_new(json, "shared", shared);
	return json;
}

/* --- text -------------------------------------------------------------------------- */

/* "12.3 GB ±0.4%" */
static const char *with_bound(char out[48], double bytes, double bound)
{
	char human[TEXT_BYTES_HUMAN];

	text_bytes_human(human, (uint64_t)(bytes + 0.5));
	if (bound > 0 && bytes > 0)
		(void)snprintf(out, 48, "%s \302\261%.1f%%", human, PERCENT * bound / bytes);
	else
		(void)text_copy(out, 48, human);
	return out;
}

static const char *estimated(char out[48], const struct usage *u, const struct estimate *e)
{
	double rate = sample_rate(u->sample);

	return with_bound(out, estimate_total(e, rate), estimate_bound(e, rate));
}

static void print_total(const struct usage *u)
{
	char text[48];
	double dedup = ratio_of((double)u->in_blocks,
				estimate_total(&u->total.unique, sample_rate(u->sample)));

	printf("  %-10s %18s  in %llu files\n", "logical", with_bound(text, (double)u->logical, 0),
	       (unsigned long long)u->files);
	if (u->holes)
		printf("  %-10s %18s  of that, no data\n", "holes",
		       with_bound(text, (double)u->holes, 0));
	if (u->inlined)
		printf("  %-10s %18s  of that, in the metadata server\n", "inline",
		       with_bound(text, (double)u->inlined, 0));
	printf("  %-10s %18s  distinct blocks, plain: dedup %.2f\n", "unique",
	       estimated(text, u, &u->total.unique), dedup);
	printf("  %-10s %18s  their records, all copies: codec %.2f\n", "stored",
	       estimated(text, u, &u->total.stored), estimate_ratio_value(&u->total.codec));
	printf("  %-10s %18s  nodes of manifests, all copies\n", "and",
	       estimated(text, u, &u->manifests.stored));
}

static void print_what_if(const struct usage *u)
{
	struct what_if w = what_if_of(u, &u->total);
	char text[48];

	printf("  %-10s %18s  by %s: codec %.2f, after %u blocks\n", "what if",
	       with_bound(text, w.stored, w.bound), codec_aim_name(u->what_if_aim),
	       ratio_of(1, estimate_ratio_value(&u->total.what_if)), u->total.what_if.count);
}

static void print_group(const struct usage *u, const struct usage_group *g)
{
	bool by_codec = u->by == USAGE_BY_CODEC;
	double logical = by_codec ? g->logical_estimated : (double)g->logical;
	double in_blocks = logical - (double)g->holes - (double)g->inlined;
	double unique = estimate_total(&g->sums.unique, sample_rate(u->sample));
	char a[48], b[48], c[48], d[48], name[USAGE_GROUP_BYTES], files[24];

	(void)text_copy(name, sizeof name, g->name);
	(void)snprintf(files, sizeof files, by_codec ? "" : "%llu", (unsigned long long)g->files);
	printf("  %-20s %8s %12s %18s %18s %18s %6.2f %6.2f", text_printable(name), files,
	       with_bound(a, logical, 0), estimated(b, u, &g->sums.unique),
	       estimated(c, u, &g->sums.own), estimated(d, u, &g->sums.stored),
	       ratio_of(in_blocks, unique), estimate_ratio_value(&g->sums.codec));
	if (u->what_if_rate > 0)
		printf(" %18s", with_bound(a, what_if_of(u, &g->sums).stored,
					   what_if_of(u, &g->sums).bound));
	printf("\n");
}

static void print_groups(const struct usage *u)
{
	static const char *const WHAT[] = {"", "type", "dtype", "directory", "codec"};
	uint32_t order[SAMPLE_GROUPS], count = sort_groups(u, order);
	struct pair pairs[PAIRS_SHOWN];
	char text[48], a[USAGE_GROUP_BYTES], b[USAGE_GROUP_BYTES];

	printf("\n  %-20s %8s %12s %18s %18s %18s %6s %6s%s\n", WHAT[u->by], "files", "logical",
	       "unique", "own", "stored", "dedup", "codec",
	       u->what_if_rate > 0 ? "            what if" : "");
	for (uint32_t i = 0; i < count; i++)
		print_group(u, &u->groups[order[i]]);
	count = largest_pairs(u, pairs);
	for (uint32_t i = 0; i < count; i++) {
		(void)text_copy(a, sizeof a, u->groups[pairs[i].a].name);
		(void)text_copy(b, sizeof b, u->groups[pairs[i].b].name);
		printf("  %s and %s share %s\n", text_printable(a), text_printable(b),
		       with_bound(text, pairs[i].bytes, pairs[i].bound));
	}
}

static void print_notes(const struct usage *u)
{
	double rate = sample_rate(u->sample);

	if (rate < 1)
		printf("  One block of %.0f was looked at, %u in all. Where \302\261 stands, 95 of "
		       "100 such\n"
		       "  samples come nearer to the truth than that.\n",
		       1 / rate, sample_count(u->sample));
	else if (u->what_if_rate > 0 && u->what_if_rate < 1)
		printf("  One block of %.0f was encoded anew; \302\261 holds for 95 of 100 such "
		       "samples.\n",
		       1 / u->what_if_rate);
	if (u->gone)
		printf("  %llu names went away meanwhile\n", (unsigned long long)u->gone);
	if (u->unanswered)
		printf("  %llu questions were not answered: a server is down\n",
		       (unsigned long long)u->unanswered);
}

void usage_report_print(const struct usage *u, const char *path)
{
	printf("%s\n", path);
	print_total(u);
	if (u->what_if_rate > 0)
		print_what_if(u);
	if (u->by != USAGE_BY_NONE)
		print_groups(u);
	print_notes(u);
}
