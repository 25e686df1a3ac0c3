/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of extended attributes: which ones there are (xattr(7)). Who may read or change what is
 * the kernel's to check.
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_WIRE_XATTR_H
#define CAIRN_FS_WIRE_XATTR_H

#include "fs/base/base.h"

/*
 * user.*, trusted.*, security.* and the two of ACLs. -E_RANGE: too long; -E_INVAL: nothing behind
 * the name space, or a NUL; -E_OPNOTSUPP: no such name space.
 */
must_check int xattr_name_check(const void *name, size_t len);

#endif
