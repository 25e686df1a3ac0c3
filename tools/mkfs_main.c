/* SPDX-License-Identifier: Apache-2.0 */
/* mkfs.cairn: create a cluster, or further disks of one. */
#include <argp.h>

#include "tools/mkfs.h"

const char *argp_program_version = "mkfs.cairn " CAIRN_VERSION;

int main(int argc, char **argv)
{
	return mkfs_run(argc, argv);
}
