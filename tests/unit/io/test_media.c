/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of disks, as sysfs shows them; and what the configuration says instead. */
#include "fs/io/media.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/check_main.h"
#include "tests/scratch.h"

static struct scratch scratch;
static struct media found;

static void begin(void)
{
	scratch_init(&scratch);
}

static void end(void)
{
	scratch_finish(&scratch);
}

/* --- a sysfs of our own ---- */

static void make_folders(const char *path)
{
	char part[1024];

	for (const char *slash = strchr(path + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		(void)mkdir(part, 0755);
	}
}

/* Device NAME has an attribute. */
static void attribute(const char *name, const char *file, const char *text)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/devices/%s/%s", scratch.path, name, file);
	make_folders(path);
	FILE *out = fopen(path, "w");
	ck_assert_ptr_nonnull(out);
	fputs(text, out);
	fclose(out);
}

static void link_to(const char *from, const char *device)
{
	char target[1024];

	snprintf(target, sizeof(target), "%s/devices/%s", scratch.path, device);
	make_folders(from);
	ck_assert_int_eq(symlink(target, from), 0);
}

/* It has number 8:minor. */
static void numbered(const char *name, unsigned minor_no)
{
	char from[1024];

	snprintf(from, sizeof(from), "%s/dev/block/8:%u", scratch.path, minor_no);
	link_to(from, name);
}

static void part_of(const char *whole, const char *part)
{
	char from[1024];
	const char *name = strrchr(part, '/');

	snprintf(from, sizeof(from), "%s/devices/%s/slaves/%s", scratch.path, whole,
		 name != NULL ? name + 1 : part);
	link_to(from, part);
}

/* "/3" lies on device 8:3, what has "ram" in its name in memory. */
static int device_of(const struct media_system *system, const char *path, dev_t *out,
		     bool *is_memory)
{
	(void)system;
	*is_memory = strstr(path, "ram") != NULL;
	if (path[1] < '0' || path[1] > '9')
		return *is_memory ? 0 : -E_NOENT;
	*out = makedev(8, (unsigned)(path[1] - '0'));
	return 0;
}

static enum media_kind detect(const char *directory)
{
	struct media_system system = {.sysfs = scratch.path, .device_of = device_of};

	media_detect(&system, directory, &found);
	return found.kind;
}

static enum media_kind disk_with(const char *name, const char *file, const char *text)
{
	attribute(name, file, text);
	numbered(name, 1);
	return detect("/1");
}

/* --- stories ---- */

START_TEST(nvme_is_told_by_its_name)
{
	ck_assert_int_eq(disk_with("nvme0n1", "queue/rotational", "0\n"), MEDIA_NVME);
	ck_assert_str_eq(found.device, "nvme0n1");
}
END_TEST

START_TEST(what_rotates_says_so)
{
	ck_assert_int_eq(disk_with("sda", "queue/rotational", "1\n"), MEDIA_ROTATING);
}
END_TEST

START_TEST(what_does_not_rotate_is_an_ssd)
{
	ck_assert_int_eq(disk_with("sda", "queue/rotational", "0\n"), MEDIA_SSD);
}
END_TEST

START_TEST(sticks_count_as_cards)
{
	attribute("sda", "removable", "1\n");
	ck_assert_int_eq(disk_with("sda", "queue/rotational", "1\n"), MEDIA_SD);
}
END_TEST

START_TEST(emmc_is_told_from_cards)
{
	ck_assert_int_eq(disk_with("mmcblk0", "device/type", "MMC\n"), MEDIA_EMMC);
	attribute("mmcblk1", "device/type", "SD\n");
	numbered("mmcblk1", 2);
	ck_assert_int_eq(detect("/2"), MEDIA_SD);
}
END_TEST

START_TEST(disks_of_guests_are_virtual_whatever_they_say)
{
	ck_assert_int_eq(disk_with("vda", "queue/rotational", "1\n"), MEDIA_VIRTUAL);
	attribute("sdb", "device/vendor", "VMware  \n");
	attribute("sdb", "queue/rotational", "1\n");
	numbered("sdb", 2);
	ck_assert_int_eq(detect("/2"), MEDIA_VIRTUAL);
}
END_TEST

START_TEST(memory_is_memory)
{
	ck_assert_int_eq(detect("/ramdisk"), MEDIA_MEMORY);
	ck_assert_int_eq(disk_with("zram0", "queue/rotational", "0\n"), MEDIA_MEMORY);
}
END_TEST

START_TEST(a_partition_is_of_its_disk)
{
	attribute("nvme0n1", "device/model", "Fast 1\n");
	attribute("nvme0n1/nvme0n1p3", "partition", "3\n");
	numbered("nvme0n1/nvme0n1p3", 1);
	ck_assert_int_eq(detect("/1"), MEDIA_NVME);
	ck_assert_str_eq(found.device, "nvme0n1");
}
END_TEST

START_TEST(the_slowest_part_counts)
{
	attribute("sda", "queue/rotational", "1\n");
	attribute("sda/sda1", "partition", "1\n");
	attribute("nvme0n1", "queue/rotational", "0\n");
	attribute("md0", "size", "1000\n");
	part_of("md0", "sda/sda1");
	part_of("md0", "nvme0n1");
	attribute("dm-0", "dm/uuid", "LVM-1\n");
	part_of("dm-0", "md0");
	numbered("dm-0", 1);
	ck_assert_int_eq(detect("/1"), MEDIA_ROTATING);
	ck_assert_str_eq(found.device, "dm-0");
}
END_TEST

START_TEST(an_image_lies_where_its_file_lies)
{
	attribute("sda", "queue/rotational", "1\n");
	numbered("sda", 1);
	attribute("loop0", "loop/backing_file", "/1/image\n");
	numbered("loop0", 2);
	ck_assert_int_eq(detect("/2"), MEDIA_ROTATING);
	attribute("loop1", "loop/backing_file", "/ram/image\n");
	numbered("loop1", 3);
	ck_assert_int_eq(detect("/3"), MEDIA_MEMORY);
}
END_TEST

START_TEST(disks_that_stand_on_themselves_end)
{
	attribute("dm-0", "size", "1\n");
	part_of("dm-0", "dm-0");
	numbered("dm-0", 1);
	ck_assert_int_eq(detect("/1"), MEDIA_OTHER);
	attribute("loop0", "loop/backing_file", "/2/image\n");
	numbered("loop0", 2);
	ck_assert_int_eq(detect("/2"), MEDIA_OTHER);
}
END_TEST

START_TEST(what_is_not_known_is_other)
{
	ck_assert_int_eq(detect("/9"), MEDIA_OTHER);
	ck_assert_int_eq(detect("/network"), MEDIA_OTHER);
	ck_assert_str_eq(found.device, "");
	ck_assert_int_eq(disk_with("sda", "size", "7\n"), MEDIA_OTHER);
	attribute("mmcblk0", "device/type", "");
	numbered("mmcblk0", 2);
	ck_assert_int_eq(detect("/2"), MEDIA_SD);
}
END_TEST

START_TEST(another_device_is_another_identity)
{
	disk_with("sda", "device/model", "One\n");
	uint64_t first = found.identity;
	ck_assert_int_eq(detect("/1"), MEDIA_OTHER);
	ck_assert(found.identity == first);
	attribute("sda", "device/model", "Two\n");
	detect("/1");
	ck_assert(found.identity != first);
}
END_TEST

START_TEST(the_real_system_is_looked_at)
{
	media_detect(&media_system, "/proc", &found);
	ck_assert_int_eq(found.kind, MEDIA_OTHER);
	media_detect(&media_system, "/", &found);
	ck_assert_int_lt(found.kind, MEDIA_COUNT);
}
END_TEST

static struct config config;
static struct error err;

static int set(const char *text)
{
	config_init(&config);
	ck_assert_int_eq(config_set(&config, "cs.dirs", "/a,/b", &err), 0);
	ck_assert_int_eq(config_set(&config, "cs.media", text, &err), 0);
	return media_check(&config.cs_media, &config.cs_dirs, &err);
}

static int chosen(const char *directory)
{
	enum media_kind kind = MEDIA_COUNT;
	int rc = media_chosen(&config.cs_media, directory, &kind, &err);

	return rc == 1 ? (int)kind : rc == 0 ? -1 : -2;
}

START_TEST(the_configuration_knows_better)
{
	ck_assert_int_eq(set("auto"), 0);
	ck_assert_int_eq(chosen("/a"), -1);
	ck_assert_int_eq(set("rotating"), 0);
	ck_assert_int_eq(chosen("/a"), MEDIA_ROTATING);
	ck_assert_int_eq(set("ssd,/b/=sd"), 0);
	ck_assert_int_eq(chosen("/a"), MEDIA_SSD);
	ck_assert_int_eq(chosen("/b"), MEDIA_SD);
	ck_assert_int_eq(set("ssd,/b=auto"), 0);
	ck_assert_int_eq(chosen("/b"), -1);
}
END_TEST

START_TEST(mistakes_in_it_are_told)
{
	ck_assert_int_eq(set("floppy"), -E_INVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "floppy"));
	ck_assert_int_eq(set("/c=ssd"), -E_INVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "/c"));
	ck_assert_int_eq(set("/a=floppy"), -E_INVAL);
}
END_TEST

START_TEST(every_kind_has_a_profile)
{
	for (unsigned i = 0; i < MEDIA_COUNT; i++) {
		const struct media_profile *p = media_profile((enum media_kind)i);
		enum media_kind kind;
		ck_assert_int_eq(media_parse(p->name, &kind), 0);
		ck_assert_uint_eq(kind, i);
		ck_assert_ptr_nonnull(strstr(MEDIA_NAMES, p->name));
		ck_assert_uint_ge(p->queue_depth, 1);
		ck_assert_uint_ge(p->request_bytes, KiB(64));
		ck_assert(p->bytes_per_s > 0);
	}
}
END_TEST

TEST_MAIN("media", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, nvme_is_told_by_its_name); tcase_add_test(tc, what_rotates_says_so);
	  tcase_add_test(tc, what_does_not_rotate_is_an_ssd);
	  tcase_add_test(tc, sticks_count_as_cards); tcase_add_test(tc, emmc_is_told_from_cards);
	  tcase_add_test(tc, disks_of_guests_are_virtual_whatever_they_say);
	  tcase_add_test(tc, memory_is_memory); tcase_add_test(tc, a_partition_is_of_its_disk);
	  tcase_add_test(tc, the_slowest_part_counts);
	  tcase_add_test(tc, an_image_lies_where_its_file_lies);
	  tcase_add_test(tc, disks_that_stand_on_themselves_end);
	  tcase_add_test(tc, what_is_not_known_is_other);
	  tcase_add_test(tc, another_device_is_another_identity);
	  tcase_add_test(tc, the_real_system_is_looked_at);
	  tcase_add_test(tc, the_configuration_knows_better);
	  tcase_add_test(tc, mistakes_in_it_are_told);
	  tcase_add_test(tc, every_kind_has_a_profile))
