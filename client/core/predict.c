/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chain, the hours, and their text. See predict.h.
 */
#include "client/core/predict.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#define COUNT_MAX	64u	/* then all counts of a model are halved: old habits fade */
#define HOUR_WEIGHT	250u	/* of 1,000: the rest is the chain's */
#define WARM_USES_MAX	3u	/* a guess has so many uses of others to come true */
#define FORMAT_VERSION	1

struct next {
	uint64_t model;
	uint32_t count;
};

struct model {
	uint64_t key;
	struct next next[PREDICT_NEXT_MAX];	/* most frequent first */
	uint32_t next_count;
	uint32_t hours[PREDICT_HOURS];
	inode_no files[PREDICT_FILES_MAX];
	uint32_t file_count;
	uint32_t warm_left;		/* uses that its guess may still wait for; 0: not warmed */
	UT_hash_handle hh;
	struct model *prev, *older;	/* in order of use, last first */
};

struct predictor {
	struct model *by_key, *latest;
	uint64_t last_ms;
	struct predict_stats stats;
};

int predictor_create(struct predictor **out)
{
	*out = calloc(1, sizeof **out);
	return *out ? 0 : -E_NOMEM;
}

static void forget_all(struct predictor *p)
{
	struct model *m, *next;

	HASH_ITER(hh, p->by_key, m, next) {
		HASH_DEL(p->by_key, m);
		free(m);
	}
	*p = (struct predictor){ 0 };
}

void predictor_destroy(struct predictor *p)
{
	if (!p)
		return;
	forget_all(p);
	free(p);
}

/* --- models ----------------------------------------------------------------------------------- */

static struct model *model_find(const struct predictor *p, uint64_t key)
{
	struct model *m;

	HASH_FIND(hh, p->by_key, &key, sizeof key, m);
	return m;
}

static void model_drop(struct predictor *p, struct model *m)
{
	HASH_DEL(p->by_key, m);
	DL_DELETE2(p->latest, m, prev, older);
	free(m);
}

/* Found or made; it is the latest. NULL: out of memory. */
static struct model *model_get(struct predictor *p, uint64_t key)
{
	struct model *m = model_find(p, key);

	if (m) {
		DL_DELETE2(p->latest, m, prev, older);
		DL_PREPEND2(p->latest, m, prev, older);
		return m;
	}
	if (HASH_COUNT(p->by_key) >= PREDICT_MODELS_MAX)
		model_drop(p, p->latest->prev);		/* the head's prev is the oldest */
	m = calloc(1, sizeof *m);
	if (!m)
		return NULL;
	m->key = key;
	HASH_ADD(hh, p->by_key, key, sizeof m->key, m);
	if (!m->hh.tbl) {
		free(m);
		return NULL;
	}
	DL_PREPEND2(p->latest, m, prev, older);
	return m;
}

static void file_note(struct model *m, inode_no file)
{
	for (uint32_t i = 0; i < m->file_count; i++)
		if (m->files[i] == file)
			return;
	/* Versions come and go: the oldest leaves. */
	if (m->file_count == PREDICT_FILES_MAX) {
		memmove(&m->files[0], &m->files[1], (m->file_count - 1) * sizeof m->files[0]);
		m->file_count--;
	}
	m->files[m->file_count++] = file;
}

/* --- the chain -------------------------------------------------------------------------------- */

static uint32_t next_total(const struct model *m)
{
	uint32_t total = 0;

	for (uint32_t i = 0; i < m->next_count; i++)
		total += m->next[i].count;
	return total;
}

static void next_fade(struct model *m)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < m->next_count; i++) {
		m->next[i].count /= 2;
		if (m->next[i].count > 0)
			m->next[kept++] = m->next[i];
	}
	m->next_count = kept;
}

static void next_count(struct model *m, uint64_t model)
{
	uint32_t i = 0;

	if (next_total(m) >= COUNT_MAX)
		next_fade(m);
	while (i < m->next_count && m->next[i].model != model)
		i++;
	if (i == PREDICT_NEXT_MAX)
		m->next[--i] = (struct next){ .model = model };	/* the rarest makes room */
	else if (i == m->next_count)
		m->next[m->next_count++] = (struct next){ .model = model };
	m->next[i].count++;
	for (; i > 0 && m->next[i].count > m->next[i - 1].count; i--) {
		struct next swapped = m->next[i];

		m->next[i] = m->next[i - 1];
		m->next[i - 1] = swapped;
	}
}

static void hour_count(struct model *m, unsigned hour)
{
	if (m->hours[hour] >= COUNT_MAX)
		for (unsigned i = 0; i < PREDICT_HOURS; i++)
			m->hours[i] /= 2;
	m->hours[hour]++;
}

/* --- learning --------------------------------------------------------------------------------- */

/* A model was used: guesses come true, or have waited long enough. */
static void guesses_judge(struct predictor *p, struct model *used)
{
	struct model *m;

	if (used->warm_left > 0)
		p->stats.hits++;
	used->warm_left = 0;
	for (m = p->latest; m; m = m->older)
		if (m->warm_left > 0 && --m->warm_left == 0)
			p->stats.misses++;
}

int predictor_use(struct predictor *p, uint64_t model, inode_no file, uint64_t now_ms,
		  unsigned hour)
{
	bool is_again = p->latest && p->latest->key == model;
	bool is_same = is_again && now_ms - p->last_ms < PREDICT_SAME_MS;
	struct model *m = model_get(p, model);

	ASSERT(hour < PREDICT_HOURS);
	if (!m)
		return -E_NOMEM;
	p->last_ms = now_ms;
	file_note(m, file);
	if (is_same)
		return 0;
	p->stats.uses++;
	hour_count(m, hour);
	if (!is_again && m->older)
		next_count(m->older, model);	/* it was the latest before */
	guesses_judge(p, m);
	return 0;
}

/* --- guessing --------------------------------------------------------------------------------- */

static uint32_t hour_uses(const struct model *m, unsigned hour)
{
	return m->hours[(hour + PREDICT_HOURS - 1) % PREDICT_HOURS] + 2 * m->hours[hour] +
	       m->hours[(hour + 1) % PREDICT_HOURS];
}

/* Of 1,000. One use says nothing yet: a model must have been left twice. */
static uint32_t chance_of(const struct model *now, const struct model *m, unsigned hour,
			  uint32_t hour_total)
{
	uint32_t total = next_total(now), chance = 0;

	for (uint32_t i = 0; i < now->next_count && total >= 2; i++)
		if (now->next[i].model == m->key)
			chance = now->next[i].count * (1000u - HOUR_WEIGHT) / total;
	if (hour_total >= 8)
		chance += hour_uses(m, hour) * HOUR_WEIGHT / hour_total;
	return chance;
}

static void guess_insert(struct predict_guess *out, uint32_t *count, uint32_t max,
			 const struct predict_guess *guess)
{
	uint32_t i = *count;

	while (i > 0 && out[i - 1].chance < guess->chance) {
		if (i < max)
			out[i] = out[i - 1];
		i--;
	}
	if (i == max)
		return;
	out[i] = *guess;
	*count = MIN_OF(*count + 1, max);
}

uint32_t predictor_guess(const struct predictor *p, unsigned hour, struct predict_guess *out,
			 uint32_t max)
{
	const struct model *now = p->latest, *m;
	uint32_t hour_total = 0, count = 0;

	ASSERT(hour < PREDICT_HOURS);
	if (!now)
		return 0;
	for (m = now; m; m = m->older)
		hour_total += hour_uses(m, hour);
	for (m = now->older; m; m = m->older) {
		struct predict_guess guess = { .model = m->key, .files = m->files,
					       .file_count = m->file_count,
					       .chance = chance_of(now, m, hour, hour_total) };

		if (guess.chance >= PREDICT_CHANCE_MIN)
			guess_insert(out, &count, max, &guess);
	}
	return count;
}

void predictor_warmed(struct predictor *p, uint64_t model)
{
	struct model *m = model_find(p, model);

	if (!m || m->warm_left > 0)
		return;
	m->warm_left = WARM_USES_MAX;
	p->stats.warmed++;
}

void predictor_stats(const struct predictor *p, struct predict_stats *out)
{
	*out = p->stats;
	out->models = HASH_COUNT(p->by_key);
}

/* --- text ------------------------------------------------------------------------------------- */

static json_t *model_json(const struct model *m)
{
	json_t *next = json_array(), *hours = json_array(), *files = json_array();

	for (uint32_t i = 0; i < m->next_count; i++) {
		json_array_append_new(next, json_integer((json_int_t)m->next[i].model));
		json_array_append_new(next, json_integer(m->next[i].count));
	}
	for (unsigned i = 0; i < PREDICT_HOURS; i++)
		json_array_append_new(hours, json_integer(m->hours[i]));
	for (uint32_t i = 0; i < m->file_count; i++)
		json_array_append_new(files, json_integer((json_int_t)m->files[i]));
	return json_pack("{s:I, s:o, s:o, s:o}", "model", (json_int_t)m->key, "next", next, "hours",
			 hours, "files", files);
}

int predictor_save(const struct predictor *p, struct text *out)
{
	json_t *models = json_array(), *all;
	const struct model *m;
	char *dump;

	for (m = p->latest; m; m = m->older)
		json_array_append_new(models, model_json(m));
	all = json_pack("{s:i, s:I, s:I, s:I, s:I, s:o}", "version", FORMAT_VERSION, "uses",
			(json_int_t)p->stats.uses, "warmed", (json_int_t)p->stats.warmed, "hits",
			(json_int_t)p->stats.hits, "misses", (json_int_t)p->stats.misses, "models",
			models);
	dump = all ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(all);
	if (!dump)
		return -E_NOMEM;
	text_add(out, dump);
	free(dump);
	return out->failed ? -E_NOMEM : 0;
}

/* A whole number of foreign text, at most `max`. */
static bool number_of(const json_t *value, uint64_t max, uint64_t *out)
{
	*out = (uint64_t)json_integer_value(value);
	return json_is_integer(value) && (max == UINT64_MAX || *out <= max);
}

static bool next_load(struct model *m, const json_t *array)
{
	uint64_t model, count;

	if (json_array_size(array) > 2 * (size_t)PREDICT_NEXT_MAX || json_array_size(array) % 2)
		return false;
	for (size_t i = 0; i < json_array_size(array); i += 2) {
		if (!number_of(json_array_get(array, i), UINT64_MAX, &model) ||
		    !number_of(json_array_get(array, i + 1), COUNT_MAX, &count) || count == 0)
			return false;
		m->next[m->next_count++] = (struct next){ model, (uint32_t)count };
	}
	return true;
}

static bool model_load(struct predictor *p, const json_t *object)
{
	const json_t *hours = json_object_get(object, "hours");
	const json_t *files = json_object_get(object, "files");
	struct model *m;
	uint64_t value;

	if (!number_of(json_object_get(object, "model"), UINT64_MAX, &value) ||
	    model_find(p, value) || json_array_size(hours) != PREDICT_HOURS ||
	    json_array_size(files) > PREDICT_FILES_MAX)
		return false;
	m = model_get(p, value);
	if (!m || !next_load(m, json_object_get(object, "next")))
		return false;
	for (size_t i = 0; i < PREDICT_HOURS; i++) {
		if (!number_of(json_array_get(hours, i), COUNT_MAX, &value))
			return false;
		m->hours[i] = (uint32_t)value;
	}
	for (size_t i = 0; i < json_array_size(files); i++) {
		if (!number_of(json_array_get(files, i), INT64_MAX, &value))
			return false;
		file_note(m, value);
	}
	return true;
}

int predictor_load(struct predictor *p, const char *text, size_t len)
{
	json_t *all = len <= PREDICT_TEXT_BYTES_MAX ? json_loadb(text, len, 0, NULL) : NULL;
	const json_t *models = json_object_get(all, "models");
	size_t count = json_array_size(models);
	bool is_sound = json_integer_value(json_object_get(all, "version")) == FORMAT_VERSION &&
			count <= PREDICT_MODELS_MAX;

	forget_all(p);
	/* The latest stands first, and is made last. */
	for (size_t i = count; i > 0 && is_sound; i--)
		is_sound = model_load(p, json_array_get(models, i - 1));
	is_sound = is_sound &&
		   number_of(json_object_get(all, "uses"), INT64_MAX, &p->stats.uses) &&
		   number_of(json_object_get(all, "warmed"), INT64_MAX, &p->stats.warmed) &&
		   number_of(json_object_get(all, "hits"), INT64_MAX, &p->stats.hits) &&
		   number_of(json_object_get(all, "misses"), INT64_MAX, &p->stats.misses);
	json_decref(all);
	if (!is_sound)
		forget_all(p);
	return is_sound ? 0 : -E_MALFORMED;
}
