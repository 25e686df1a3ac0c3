/* SPDX-License-Identifier: Apache-2.0 */
/* What was found about a tree (usage.h), after it was added up. */
#ifndef CAIRN_TOOLS_USAGE_REPORT_H
#define CAIRN_TOOLS_USAGE_REPORT_H

#include <jansson.h>

#include "tools/usage.h"

json_t *usage_report_json(const struct usage *u, const char *path); /* NULL: out of memory */
void usage_report_print(const struct usage *u, const char *path);

#endif
