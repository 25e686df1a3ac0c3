/* SPDX-License-Identifier: Apache-2.0 */
/* mount.cairn: mounts a cairn file system; mount(8) calls it for type cairn. */
#include "client/fuse/program.h"

int main(int argc, char **argv)
{
	return program_run(argc, argv);
}
