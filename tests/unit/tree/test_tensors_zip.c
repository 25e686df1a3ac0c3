/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy's arrays, and archives: of arrays, of PyTorch's storages, in zip64; and hostile ones. */
#include "tests/check_main.h"
#include "tests/tensor_files.h"

#define MEMBERS_MAX 8u

/* An archive under way. What is in `member` may be changed before the directory is written. */
struct archive {
	struct file file;
	struct wr w;
	uint32_t count;
	struct member {
		const char *name;
		uint16_t method;
		uint64_t local, data, packed, plain;
		bool is_64;
	} members[MEMBERS_MAX];
};

static struct archive *archive(void)
{
	struct archive *a = calloc(1, sizeof *a);

	a->w = wr_init(a->file.bytes, sizeof a->file.bytes);
	return a;
}

static struct member *member(struct archive *a, const char *name, const void *data, size_t len)
{
	const uint32_t padding = 10;
	struct member *m = &a->members[a->count++];

	*m = (struct member){name, 0, wr_len(&a->w), 0, len, len, false};
	wr_u32(&a->w, 0x04034b50);
	wr_zeros(&a->w, 22);
	wr_u16(&a->w, (uint16_t)strlen(name));
	wr_u16(&a->w, padding);
	wr_bytes(&a->w, name, strlen(name));
	wr_zeros(&a->w, padding);
	m->data = wr_len(&a->w);
	wr_bytes(&a->w, data, len);
	return m;
}

static void directory_entry(struct wr *w, const struct member *m)
{
	wr_u32(w, 0x02014b50);
	wr_zeros(w, 6);
	wr_u16(w, m->method);
	wr_zeros(w, 8);
	wr_u32(w, m->is_64 ? 0xffffffff : (uint32_t)m->packed);
	wr_u32(w, m->is_64 ? 0xffffffff : (uint32_t)m->plain);
	wr_u16(w, (uint16_t)strlen(m->name));
	wr_u16(w, m->is_64 ? 4 + 3 + 28 : 0);
	wr_zeros(w, 10);
	wr_u32(w, m->is_64 ? 0xffffffff : (uint32_t)m->local);
	wr_bytes(w, m->name, strlen(m->name));
	if (m->is_64) {
		wr_u16(w, 7); /* another's, first */
		wr_u16(w, 3);
		wr_zeros(w, 3);
		wr_u16(w, 1);
		wr_u16(w, 24);
		wr_u64(w, m->plain);
		wr_u64(w, m->packed);
		wr_u64(w, m->local);
	}
}

static void end_64(struct wr *w, uint64_t start)
{
	uint64_t at = wr_len(w);

	wr_u32(w, 0x06064b50);
	wr_zeros(w, 36);
	wr_u64(w, at - start);
	wr_u64(w, start);
	wr_u32(w, 0x07064b50);
	wr_zeros(w, 4);
	wr_u64(w, at);
	wr_zeros(w, 4);
}

static void finish(struct archive *a, bool is_64, uint32_t comment)
{
	uint64_t start = wr_len(&a->w);

	for (uint32_t i = 0; i < a->count; i++)
		directory_entry(&a->w, &a->members[i]);
	uint64_t end = wr_len(&a->w);
	if (is_64)
		end_64(&a->w, start);
	wr_u32(&a->w, 0x06054b50);
	wr_zeros(&a->w, 8);
	wr_u32(&a->w, is_64 ? 0xffffffff : (uint32_t)(end - start));
	wr_u32(&a->w, is_64 ? 0xffffffff : (uint32_t)start);
	wr_u16(&a->w, (uint16_t)comment);
	wr_zeros(&a->w, comment);
	ck_assert(wr_ok(&a->w));
	a->file.size = wr_len(&a->w);
}

static size_t npy(uint8_t *out, size_t room, uint8_t major, const char *descr, size_t data_len)
{
	char text[100];
	int len = snprintf(text, sizeof text,
			   "{'descr': '%s', 'fortran_order': False, 'shape': (3,), }\n", descr);
	struct wr w = wr_init(out, room);

	wr_bytes(&w, "\x93NUMPY", 6);
	wr_u8(&w, major);
	wr_u8(&w, 0);
	if (major == 1)
		wr_u16(&w, (uint16_t)len);
	else
		wr_u32(&w, (uint32_t)len);
	wr_bytes(&w, text, (size_t)len);
	wr_zeros(&w, data_len);
	ck_assert(wr_ok(&w));
	return wr_len(&w);
}

START_TEST(an_array_is_told)
{
	static const struct {
		const char *descr, *dtype;
	} known[] = {{"<f4", "f32"},  {"<f2", "f16"}, {"|i1", "i8"},	{"|b1", "bool"},
		     {"<V2", "bf16"}, {"u8", "u64"},  {"<c16", "c128"}, {"<U7", "unknown"}};
	struct file *file = calloc(1, sizeof *file);
	char told[64];

	for (uint32_t i = 0; i < ARRAY_COUNT(known); i++) {
		for (uint8_t major = 1; major <= 3; major++) {
			file->size =
				npy(file->bytes, sizeof file->bytes, major, known[i].descr, 12);
			snprintf(told, sizeof told, " %s %u+12\n", known[i].dtype,
				 (unsigned)file->size - 12);
			file_expect(file, TENSORS_OF_NPY, told);
		}
	}
	free(file);
}
END_TEST

START_TEST(a_damaged_array_tells_nothing)
{
	struct file *file = calloc(1, sizeof *file);
	uint64_t size = npy(file->bytes, sizeof file->bytes, 1, "<f4", 0);

	for (file->size = 6; file->size <= size; file->size++)
		file_expect(file, TENSORS_OF_NPY, "");
	file->size = size + 12;
	file->bytes[6] = 9;
	file_expect(file, TENSORS_OF_NPY, "");
	free(file);
}
END_TEST

START_TEST(members_are_told)
{
	for (uint32_t kind = 0; kind < 4; kind++) {
		struct archive *a = archive();
		uint8_t array[200];
		char told[200];
		size_t len = npy(array, sizeof array, 1, "<f2", 14);

		struct member *storage = member(a, "model/data/0", "STORAGE", 7);
		member(a, "packed", "zzz", 3)->method = 8;
		member(a, "folder/", "", 0);
		struct member *named = member(a, "w.npy", array, len);
		struct member *other = member(a, "x.npy", "NO ARRAY", 8);
		storage->is_64 = kind & 1;
		finish(a, kind & 1, kind & 2 ? 9000 : 0);
		snprintf(told, sizeof told,
			 "model/data/0 unknown %u+7\nw.npy f16 %u+14\nx.npy unknown %u+8\n",
			 (unsigned)storage->data, (unsigned)(named->data + len - 14),
			 (unsigned)other->data);
		file_expect(&a->file, TENSORS_OF_ZIP, told);
		free(a);
	}
}
END_TEST

START_TEST(members_that_lie_are_not_told)
{
	struct archive *a = archive();
	char told[64];

	member(a, "too long", "DATA", 4)->packed = 1u << 30;
	member(a, "unequal", "DATA", 4)->plain = 5;
	struct member *far = member(a, "far", "DATA", 4);
	struct member *good = member(a, "good", "DATA", 4);
	struct member *lost = member(a, "lost", "DATA", 4);
	a->members[0].plain = 1u << 30;
	far->local = UINT64_MAX - 3;
	far->is_64 = true;
	lost->local++; /* no local header: ends the walk */
	member(a, "behind", "DATA", 4);
	finish(a, false, 0);
	snprintf(told, sizeof told, "good unknown %u+4\n", (unsigned)good->data);
	file_expect(&a->file, TENSORS_OF_ZIP, told);
	free(a);
}
END_TEST

START_TEST(an_empty_member_of_zip64_is_passed_over)
{
	struct archive *a = archive();
	char told[64];

	member(a, "w.npy", "", 0)->is_64 = true;
	struct member *good = member(a, "good", "DATA", 4);
	finish(a, false, 0);
	snprintf(told, sizeof told, "good unknown %u+4\n", (unsigned)good->data);
	file_expect(&a->file, TENSORS_OF_ZIP, told);
	free(a);
}
END_TEST

START_TEST(an_archive_without_its_end_tells_nothing)
{
	struct archive *a = archive();

	member(a, "a", "DATA", 4);
	finish(a, true, 0);
	for (uint64_t size = a->file.size - 1; size >= 4; size--) {
		a->file.size = size;
		file_expect(&a->file, TENSORS_OF_ZIP, "");
	}
	free(a);
}
END_TEST

START_TEST(a_directory_that_leads_astray_ends_the_walk)
{
	static const uint64_t places[] = {0, 1, 60000, UINT64_MAX, UINT64_MAX - 100};

	for (uint32_t i = 0; i < ARRAY_COUNT(places); i++) {
		struct archive *a = archive();

		member(a, "a", "DATA", 4);
		finish(a, true, 0);
		/* the locator's offset, then the offset in what it leads to */
		struct wr w = wr_init(a->file.bytes + a->file.size - 22 - 20 + 8, 8);
		wr_u64(&w, places[i]);
		file_expect(&a->file, TENSORS_OF_ZIP, "");
		w = wr_init(a->file.bytes + a->file.size - 22 - 20 + 8, 8);
		wr_u64(&w, a->file.size - 22 - 20 - 56);
		w = wr_init(a->file.bytes + a->file.size - 22 - 20 - 8, 8);
		wr_u64(&w, places[i]);
		file_expect(&a->file, TENSORS_OF_ZIP, "");
		free(a);
	}
}
END_TEST

TEST_MAIN("tensors_zip", tcase_add_test(tc, an_array_is_told);
	  tcase_add_test(tc, a_damaged_array_tells_nothing); tcase_add_test(tc, members_are_told);
	  tcase_add_test(tc, members_that_lie_are_not_told);
	  tcase_add_test(tc, an_empty_member_of_zip64_is_passed_over);
	  tcase_add_test(tc, an_archive_without_its_end_tells_nothing);
	  tcase_add_test(tc, a_directory_that_leads_astray_ends_the_walk))
