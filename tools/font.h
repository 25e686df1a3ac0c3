/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Letters of 5 by 7 dots for pictures, so that a plot needs no library of fonts and no file of one.
 * Pure. Threads: any.
 */
#ifndef CAIRN_TOOLS_FONT_H
#define CAIRN_TOOLS_FONT_H

#include "fs/base/base.h"

#define FONT_COLUMNS 5u /* dots; one more keeps letters apart */
#define FONT_ROWS    9u /* the last two: what hangs below the line */

/* A character that is not printable ASCII looks like '?'. */
bool font_has_dot(char letter, uint32_t column, uint32_t row);

#endif
