/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX: initializers, and tensors wherever else they may be; and hostile messages. */
#include "tests/check_main.h"
#include "tests/tensor_files.h"

/* A message under way, in memory of its own. */
struct message {
	uint8_t bytes[4096];
	struct wr w;
};

static struct message *message(void)
{
	struct message *m = calloc(1, sizeof *m);

	m->w = wr_init(m->bytes, sizeof m->bytes);
	return m;
}

static void varint(struct message *m, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		wr_u8(&m->w, (uint8_t)(value | 0x80));
	wr_u8(&m->w, (uint8_t)value);
}

static void number(struct message *m, uint32_t field, uint64_t value)
{
	varint(m, (uint64_t)field << 3);
	varint(m, value);
}

static void bytes(struct message *m, uint32_t field, const void *value, size_t len)
{
	varint(m, (uint64_t)field << 3 | 2);
	varint(m, len);
	wr_bytes(&m->w, value, len);
}

/* The inner one becomes a field, and is gone. */
static void inside(struct message *m, uint32_t field, struct message *inner)
{
	ck_assert(wr_ok(&inner->w));
	bytes(m, field, inner->bytes, wr_len(&inner->w));
	free(inner);
}

static struct message *tensor(const char *name, uint64_t type, uint32_t data_field,
			      const char *data)
{
	struct message *m = message();

	number(m, 1, 7);
	number(m, 2, type);
	bytes(m, 8, name, strlen(name));
	bytes(m, data_field, data, strlen(data));
	return m;
}

static struct file *model(struct message *graph)
{
	struct file *file = calloc(1, sizeof *file);
	struct message *m = message();

	number(m, 1, 8);
	bytes(m, 2, "cairn", 5);
	inside(m, 7, graph);
	ck_assert(wr_ok(&m->w));
	file->size = wr_len(&m->w);
	memcpy(file->bytes, m->bytes, file->size);
	free(m);
	return file;
}

static unsigned place_of(const struct file *file, const char *data)
{
	const uint8_t *at = memmem(file->bytes, file->size, data, strlen(data));

	ck_assert_ptr_nonnull(at);
	return (unsigned)(at - file->bytes);
}

START_TEST(initializers_are_told)
{
	struct message *graph = message();
	char told[100];

	bytes(graph, 2, "a graph", 7);
	inside(graph, 5, tensor("w", 1, 9, "RAW DATA"));
	inside(graph, 5, tensor("", 16, 9, "OTHER"));
	inside(graph, 5, tensor("f", 1, 4, "FLOATS__"));
	struct file *file = model(graph);
	snprintf(told, sizeof told, "w f32 %u+8\n bf16 %u+5\nf f32 %u+8\n",
		 place_of(file, "RAW DATA"), place_of(file, "OTHER"), place_of(file, "FLOATS__"));
	file_expect(file, TENSORS_OF_ONNX, told);
	free(file);
}
END_TEST

/* A constant's attribute, and the graph of a branch within a node. */
START_TEST(tensors_within_nodes_are_told)
{
	struct message *graph = message(), *node = message(), *attribute = message();
	struct message *branch = message(), *sparse = message();
	char told[100];

	inside(attribute, 5, tensor("c", 3, 9, "CONSTANT"));
	inside(branch, 5, tensor("b", 10, 9, "BRANCH"));
	inside(attribute, 6, branch);
	bytes(node, 1, "input", 5);
	inside(node, 5, attribute);
	inside(graph, 1, node);
	inside(sparse, 1, tensor("s", 11, 9, "SPARSE__"));
	inside(graph, 15, sparse);
	struct file *file = model(graph);
	snprintf(told, sizeof told, "c i8 %u+8\nb f16 %u+6\ns f64 %u+8\n",
		 place_of(file, "CONSTANT"), place_of(file, "BRANCH"), place_of(file, "SPARSE__"));
	file_expect(file, TENSORS_OF_ONNX, told);
	free(file);
}
END_TEST

START_TEST(graphs_that_nest_too_deep_are_passed_over)
{
	struct message *graph = message();
	char told[64];

	inside(graph, 5, tensor("deep", 1, 9, "DEEP"));
	for (uint32_t i = 0; i < 40; i++) {
		struct message *outer = message(), *node = message(), *attribute = message();

		inside(attribute, 6, graph);
		inside(node, 5, attribute);
		inside(outer, 1, node);
		graph = outer;
	}
	inside(graph, 5, tensor("top", 1, 9, "TOP_"));
	struct file *file = model(graph);
	snprintf(told, sizeof told, "top f32 %u+4\n", place_of(file, "TOP_"));
	file_expect(file, TENSORS_OF_ONNX, told);
	free(file);
}
END_TEST

START_TEST(a_message_that_is_longer_than_its_place_ends_the_walk)
{
	struct message *graph = message();
	char told[64];

	inside(graph, 5, tensor("a", 1, 9, "GOOD"));
	varint(graph, 5 << 3 | 2);
	varint(graph, 1000);
	struct file *file = model(graph);
	snprintf(told, sizeof told, "a f32 %u+4\n", place_of(file, "GOOD"));
	file_expect(file, TENSORS_OF_ONNX, told);
	free(file);
}
END_TEST

START_TEST(damaged_fields_end_the_walk)
{
	static const struct {
		uint8_t bytes[12], len;
	} wrong[] = {
		{{0x3b}, 1}, /* a group */
		{{0x3a}, 1}, /* no length */
		{{0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 12},
		{{0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 11},
		{{0x39, 1, 2}, 3}, /* 64 bits */
	};
	struct file *file = calloc(1, sizeof *file);

	for (uint32_t i = 0; i < ARRAY_COUNT(wrong); i++) {
		memcpy(file->bytes, (const uint8_t[]){0x08, 0x08, 0x12, 0x00}, 4);
		memcpy(file->bytes + 4, wrong[i].bytes, wrong[i].len);
		file->size = 4u + wrong[i].len;
		file_expect(file, TENSORS_OF_ONNX, "");
	}
	free(file);
}
END_TEST

START_TEST(a_file_that_ends_early_tells_less)
{
	struct message *graph = message();

	inside(graph, 5, tensor("a", 1, 9, "GOOD"));
	struct file *file = model(graph);
	for (file->size--; file->size > 3; file->size--)
		file_expect(file, TENSORS_OF_ONNX, "");
	free(file);
}
END_TEST

TEST_MAIN("tensors_onnx", tcase_add_test(tc, initializers_are_told);
	  tcase_add_test(tc, tensors_within_nodes_are_told);
	  tcase_add_test(tc, graphs_that_nest_too_deep_are_passed_over);
	  tcase_add_test(tc, a_message_that_is_longer_than_its_place_ends_the_walk);
	  tcase_add_test(tc, damaged_fields_end_the_walk);
	  tcase_add_test(tc, a_file_that_ends_early_tells_less))
