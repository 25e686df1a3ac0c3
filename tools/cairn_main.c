/* SPDX-License-Identifier: Apache-2.0 */
/* cairn: the administrator's command. */
#include "tools/command.h"

int main(int argc, char **argv)
{
	return command_run(argc, argv);
}
