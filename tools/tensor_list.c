/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/tensor_list.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"

static char *name_of(const struct tensors_span *span)
{
	char name[TENSOR_NAME_BYTES];
	uint32_t half = (TENSOR_NAME_BYTES - 4) / 2, len = span->name_len;

	if (len < sizeof name) {
		memcpy(name, span->name, len);
		name[len] = '\0';
	} else {
		memcpy(name, span->name, half);
		memcpy(name + half, "...", 3);
		memcpy(name + half + 3, span->name + len - half, half);
		name[2 * half + 3] = '\0';
	}
	return strdup(text_printable(name));
}

static void on_span(void *arg, const struct tensors_span *span)
{
	struct tensor_list *list = arg;
	struct tensor_item *grown;

	if (list->count == list->room) {
		uint32_t room = list->room ? list->room * 2 : 64;

		grown = room > TENSOR_LIST_MAX ? NULL
					       : realloc(list->items, room * sizeof *list->items);
		if (!grown) {
			list->is_short = true;
			return;
		}
		list->items = grown;
		list->room = room;
	}
	list->items[list->count] = (struct tensor_item){.offset = span->offset,
							.length = span->length,
							.dtype = span->dtype,
							.name = name_of(span)};
	if (list->items[list->count].name)
		list->count++;
	else
		list->is_short = true;
}

static int by_offset(const void *a, const void *b)
{
	const struct tensor_item *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return (x->length > y->length) - (x->length < y->length);
}

/* Of those that overlap the first stays. */
static void set_apart(struct tensor_list *list)
{
	uint32_t kept = 0;

	if (list->count > 0)
		qsort(list->items, list->count, sizeof *list->items, by_offset);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct tensor_item *last = kept ? &list->items[kept - 1] : NULL;

		if (last && list->items[i].offset < last->offset + last->length)
			free(list->items[i].name);
		else
			list->items[kept++] = list->items[i];
	}
	list->count = kept;
}

int tensor_list_read(struct tensor_list *list, const struct tensors_source *source)
{
	struct tensors_sink sink = {on_span, list};
	struct tensors *t = tensors_create(source, &sink);
	int rc;

	if (!t)
		return -E_NOMEM;
	do
		rc = tensors_walk(t);
	while (rc == -E_AGAIN);
	list->is_short |= rc < 0;
	list->format = tensors_format(t);
	list->data_start = tensors_data_start(t);
	tensors_destroy(t);
	set_apart(list);
	return 0;
}

void tensor_list_finish(struct tensor_list *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		free(list->items[i].name);
	free(list->items);
	*list = (struct tensor_list){.items = NULL};
}

/* How many of the first end at or before `offset`. */
static uint32_t count_before(const struct tensor_list *list, uint64_t offset)
{
	uint32_t low = 0, high = list->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (list->items[middle].offset + list->items[middle].length <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct tensor_item *tensor_list_find(const struct tensor_list *list, uint64_t offset,
					   uint64_t length)
{
	const struct tensor_item *best = NULL;
	uint64_t most = 0, left = length;

	for (uint32_t i = count_before(list, offset);
	     i < list->count && list->items[i].offset < offset + length; i++) {
		const struct tensor_item *item = &list->items[i];
		uint64_t from = MAX_OF(item->offset, offset);
		uint64_t common = MIN_OF(item->offset + item->length, offset + length) - from;

		left -= common;
		if (common > most) {
			most = common;
			best = item;
		}
	}
	return most >= left ? best : NULL; /* headers and what lies between are of none */
}
