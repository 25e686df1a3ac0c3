/* SPDX-License-Identifier: Apache-2.0 */
/* fsck.cairn: see fsck.cairn(8). */
#include "tools/fsck.h"

int main(int argc, char **argv)
{
	return fsck_run(argc, argv);
}
