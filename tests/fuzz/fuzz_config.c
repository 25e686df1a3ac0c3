/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: what is read can be dumped and read again, and comes to the same. */
#include "fs/base/config.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static struct config config;

static void dump_is_a_fixed_point(void)
{
	struct text first, second;
	struct error err = {0};

	text_init(&first, 4 * CONFIG_FILE_BYTES_MAX);
	text_init(&second, 4 * CONFIG_FILE_BYTES_MAX);
	config_dump(&config, &first);
	config_init(&config);
	int rc = config_read_text(&config, "dump", text_chars(&first), &err);
	ASSERT(rc == 0);
	config_dump(&config, &second);
	ASSERT(strcmp(text_chars(&first), text_chars(&second)) == 0);
	text_finish(&first);
	text_finish(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {0};
	char *text = malloc(size + 1);

	if (!text || size > CONFIG_FILE_BYTES_MAX) {
		free(text);
		return 0;
	}
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	config_init(&config);
	int rc = config_read_text(&config, "fuzz", text, &err);
	ASSERT(rc == 0 ? err.code == 0 : strncmp(err.text, "fuzz:", 5) == 0);
	if (rc == 0)
		dump_is_a_fixed_point();
	rc = config_assign(&config, text, &err);
	ASSERT(rc == 0 || err.code < 0);
	free(text);
	return 0;
}
