/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz harness: one function, called with any bytes. It must return 0 and neither crash nor pass
 * its bounds; properties are asserted. libFuzzer runs it (make fuzz), and replay_main.c replays the
 * corpus in every `make check`.
 */
#ifndef CAIRN_TESTS_FUZZ_FUZZ_H
#define CAIRN_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
