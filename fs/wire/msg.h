/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages: the one door to protobuf-c. cairn.proto is the schema, messages.def the table of
 * types; no program packs bytes itself.
 *
 * protobuf-c checks syntax only, so msg_unpack() also bounds each field (msg_check): names, ids of
 * exactly 32 bytes, roots that decode, repeated fields (I8). Pure; threads: any.
 */
#ifndef CAIRN_FS_WIRE_MSG_H
#define CAIRN_FS_WIRE_MSG_H

#include "cairn.pb-c.h"		/* generated from fs/wire/cairn.proto */
#include "fs/base/base.h"
#include "fs/wire/frame.h"

enum msg_type {
#define X(name, number, request, reply, who) MSG_##name = number,
#include "fs/wire/messages.def"
#undef X
};

const char *msg_type_name(unsigned type);	/* "?" for an unknown one */
bool msg_type_is_known(unsigned type);

size_t msg_packed_bytes(const ProtobufCMessage *msg);
void msg_pack(const ProtobufCMessage *msg, uint8_t *out);

/*
 * Unpack a request (or reply) of this type. *out is freed by msg_free(). -E_MALFORMED: not such a
 * message, or a field is out of its bounds; -E_NOMEM.
 */
must_check int msg_unpack(unsigned type, bool is_reply, const uint8_t *bytes, size_t len,
			  ProtobufCMessage **out);
void msg_free(ProtobufCMessage *msg);		/* NULL is allowed */

#endif
