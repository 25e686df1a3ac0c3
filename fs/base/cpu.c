/* SPDX-License-Identifier: Apache-2.0 */
/* Asked of the compiler's own library, which knows what registers the system keeps. */
#include "fs/base/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
	       __builtin_cpu_supports("bmi2");
}

static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
}

enum cpu_level cpu_level(void)
{
	if (!has_avx2())
		return CPU_PLAIN;
	return has_avx512() ? CPU_AVX512 : CPU_AVX2;
}

/* By hand: not every compiler's library knows these. They use no registers but SSE's. */
bool cpu_has_sha(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_SSE4_1) == 0 || (c & bit_SSSE3) == 0)
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}

#else

enum cpu_level cpu_level(void)
{
	return CPU_PLAIN;
}

bool cpu_has_sha(void)
{
	return false;
}

#endif

const char *cpu_level_name(enum cpu_level level)
{
	static const char *const names[CPU_LEVEL_COUNT] = {"plain", "avx2", "avx512"};

	ASSERT(level < CPU_LEVEL_COUNT);
	return names[level];
}
