/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane of a mount: what `cairn warm`, `pin`, `unpin`, `evict`, `cache` and `swap` ask
 * of it. One ioctl(2) on any open directory of the mount, so it works wherever the mount is seen,
 * in containers too; a JSON object in, a JSON object out. cairn-protocol(5) lists them.
 *
 * Requests name inodes, as stat(2) told them. Nothing waits but for the attributes of an inode: who
 * wants to see a fill through asks again.
 *
 * Who may what: pin, unpin and evict are for root and the owner of the file, who can make room for
 * it as well: what they warm pushes out others. What anyone else warms enters as if it was read.
 * Where a file lies is told to root and its owner; anyone may ask for numbers. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_CONTROL_H
#define CAIRN_CLIENT_CORE_CONTROL_H

#include <stdint.h>
#include <sys/ioctl.h>

#define CONTROL_VERSION	   1u
#define CONTROL_TEXT_BYTES 16000u	/* what an ioctl number can say stays below 16,384 */

/* The text is NUL-terminated both ways. */
struct control_message {
	uint32_t version;
	uint32_t len;
	char text[CONTROL_TEXT_BYTES];
};
#define CONTROL_IOCTL _IOWR('c', 0xca, struct control_message)

#endif
