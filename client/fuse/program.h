/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount.cairn without its main(): one mount from command line to clean end.
 */
#ifndef CAIRN_CLIENT_FUSE_PROGRAM_H
#define CAIRN_CLIENT_FUSE_PROGRAM_H

/* Exit status of mount(8). */
enum { PROGRAM_DONE = 0, PROGRAM_USAGE = 1, PROGRAM_SYSTEM = 2, PROGRAM_FAILED = 32 };

int program_run(int argc, char **argv);

#endif
