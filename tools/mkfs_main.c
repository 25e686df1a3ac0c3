/* SPDX-License-Identifier: Apache-2.0 */
/* mkfs.cairn: create a cluster, or further disks of one. */
#include "tools/mkfs.h"

int main(int argc, char **argv)
{
	return mkfs_run(argc, argv);
}
