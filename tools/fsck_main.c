/* SPDX-License-Identifier: Apache-2.0 */
/* fsck.cairn: see fsck.cairn(8). */
#include <argp.h>

#include "tools/fsck.h"

const char *argp_program_version = "fsck.cairn " CAIRN_VERSION;

int main(int argc, char **argv)
{
	return fsck_run(argc, argv);
}
