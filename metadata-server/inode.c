/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes: the row's codec (table in inode.h), and the rules of times and set-id bits. */
#include "metadata-server/inode.h"

#include <string.h>
#include <sys/stat.h>

enum present {
	HAS_OWNER = 1 << 0, HAS_LINKS = 1 << 1, HAS_ATIME = 1 << 2, HAS_BTIME = 1 << 3,
	HAS_SIZE = 1 << 4,
	HAS_RDEV = 1 << 5, HAS_FLAGS = 1 << 6, HAS_PARENT = 1 << 7, HAS_INLINE = 1 << 8,
	HAS_BLOCK = 1 << 9,
	HAS_NODE = 1 << 10, HAS_QUOTA = 1 << 11, HAS_TRASH = 1 << 13,
	HAS_RECUT = 1 << 14,
	HAS_ALL = ((1 << 12) - 1) | HAS_TRASH | HAS_RECUT,
};

bool ms_inode_is_dir(const struct ms_inode *inode)
{
	return S_ISDIR(inode->attr.mode);
}

bool ms_inode_is_file(const struct ms_inode *inode)
{
	return S_ISREG(inode->attr.mode);
}

static uint16_t present_of(const struct ms_inode *i)
{
	const struct ms_attr *a = &i->attr;
	unsigned bits = 0;

	bits |= a->uid || a->gid ? HAS_OWNER : 0;
	bits |= a->nlink != 1 ? HAS_LINKS : 0;
	bits |= a->atime_ns != a->mtime_ns ? HAS_ATIME : 0;
	bits |= a->btime_ns != a->ctime_ns ? HAS_BTIME : 0;
	bits |= a->size != a->root.length ? HAS_SIZE : 0;
	bits |= a->rdev ? HAS_RDEV : 0;
	bits |= a->flags ? HAS_FLAGS : 0;
	bits |= ms_inode_is_dir(i) ? HAS_PARENT : 0;
	bits |= i->trash ? HAS_TRASH : 0;
	bits |= a->root.kind == ROOT_INLINE ? HAS_INLINE : 0;
	bits |= a->root.kind == ROOT_BLOCK ? HAS_BLOCK : 0;
	bits |= a->root.kind == ROOT_NODE ? HAS_NODE : 0;
	bits |= a->quota ? HAS_QUOTA : 0;
	bits |= a->recut_of.kind != ROOT_EMPTY ? HAS_RECUT : 0;
	return (uint16_t)bits;
}

static void root_write(struct wr *w, const struct root *root)
{
	if (root->kind == ROOT_EMPTY)
		return;
	if (root->kind == ROOT_NODE) {
		wr_u8(w, root->depth);
		wr_u8(w, root->cutter);
		wr_u64(w, root->length);
		wr_u64(w, root->data);
	} else {
		wr_u32(w, (uint32_t)root->length);
	}
	if (root->kind != ROOT_INLINE)
		wr_bytes(w, root->id.bytes, sizeof root->id.bytes);
}

size_t ms_inode_encode(const struct ms_inode *i, uint8_t out[MS_INODE_BYTES_MAX])
{
	const struct ms_attr *a = &i->attr;
	struct wr w = wr_init(out, MS_INODE_BYTES_MAX);
	uint16_t bits = present_of(i);

	wr_u16(&w, bits);
	wr_u16(&w, (uint16_t)a->mode);
	wr_u64(&w, a->version);
	wr_u64(&w, (uint64_t)a->mtime_ns);
	wr_u64(&w, (uint64_t)a->ctime_ns);
	if (bits & HAS_OWNER) {
		wr_u32(&w, a->uid);
		wr_u32(&w, a->gid);
	}
	if (bits & HAS_LINKS)
		wr_u32(&w, a->nlink);
	if (bits & HAS_ATIME)
		wr_u64(&w, (uint64_t)a->atime_ns);
	if (bits & HAS_BTIME)
		wr_u64(&w, (uint64_t)a->btime_ns);
	if (bits & HAS_SIZE)
		wr_u64(&w, a->size);
	if (bits & HAS_RDEV)
		wr_u32(&w, a->rdev);
	if (bits & HAS_FLAGS)
		wr_u32(&w, a->flags);
	if (bits & HAS_PARENT)
		wr_u64(&w, i->parent);
	root_write(&w, &a->root);
	if (bits & HAS_QUOTA)
		wr_u64(&w, a->quota);
	if (bits & HAS_TRASH)
		wr_u64(&w, i->trash);
	if (bits & HAS_RECUT) {
		wr_u8(&w, a->recut_of.depth);
		wr_u8(&w, a->recut_of.cutter);
		wr_bytes(&w, a->recut_of.id.bytes, sizeof a->recut_of.id.bytes);
	}
	ASSERT(wr_ok(&w));
	return wr_len(&w);
}

static void root_read(struct rd *r, unsigned bits, struct root *root)
{
	if (bits & HAS_NODE) {
		root->kind = ROOT_NODE;
		root->depth = rd_u8(r);
		root->cutter = rd_u8(r);
		root->length = rd_u64(r);
		root->data = rd_u64(r);
	} else if (bits & (HAS_INLINE | HAS_BLOCK)) {
		root->kind = bits & HAS_INLINE ? ROOT_INLINE : ROOT_BLOCK;
		root->length = rd_u32(r);
	}
	if (bits & (HAS_BLOCK | HAS_NODE))
		rd_bytes(r, root->id.bytes, sizeof root->id.bytes);
}

static void recut_read(struct rd *r, struct ms_attr *a)
{
	a->recut_of = (struct root){ .kind = ROOT_NODE, .length = a->root.length,
				     .data = a->root.data };
	a->recut_of.depth = rd_u8(r);
	a->recut_of.cutter = rd_u8(r);
	rd_bytes(r, a->recut_of.id.bytes, sizeof a->recut_of.id.bytes);
}

/* One encoding of a root is the law; it lives in fs/tree. */
static bool root_is_sound(const struct root *root)
{
	uint8_t bytes[ROOT_BYTES];
	struct root again;

	root_encode(root, bytes);
	return root_decode(bytes, &again) == 0;
}

static bool is_sound(const struct ms_inode *i, unsigned bits)
{
	unsigned roots = bits & (HAS_INLINE | HAS_BLOCK | HAS_NODE);

	if (bits & ~(unsigned)HAS_ALL || roots & (roots - 1))
		return false;
	if (ms_inode_is_dir(i) != !!(bits & HAS_PARENT) || (ms_inode_is_dir(i) && !i->parent))
		return false;
	if (roots && !ms_inode_is_file(i))
		return false;
	if (i->attr.size > FILE_BYTES_MAX || i->attr.size < i->attr.root.length)
		return false;
	if (bits & HAS_RECUT && !(bits & HAS_NODE))
		return false;
	return present_of(i) == bits && root_is_sound(&i->attr.root) &&
	       root_is_sound(&i->attr.recut_of);
}

int ms_inode_decode(const void *in, size_t len, struct ms_inode *out)
{
	struct rd r = rd_init(in, len);
	struct ms_attr *a = &out->attr;
	unsigned bits;

	*out = (struct ms_inode){ 0 };
	bits = rd_u16(&r);
	a->mode = rd_u16(&r);
	a->version = rd_u64(&r);
	a->mtime_ns = (int64_t)rd_u64(&r);
	a->ctime_ns = (int64_t)rd_u64(&r);
	if (bits & HAS_OWNER) {
		a->uid = rd_u32(&r);
		a->gid = rd_u32(&r);
	}
	a->nlink = bits & HAS_LINKS ? rd_u32(&r) : 1;
	a->atime_ns = bits & HAS_ATIME ? (int64_t)rd_u64(&r) : a->mtime_ns;
	a->btime_ns = bits & HAS_BTIME ? (int64_t)rd_u64(&r) : a->ctime_ns;
	if (bits & HAS_SIZE)
		a->size = rd_u64(&r);
	if (bits & HAS_RDEV)
		a->rdev = rd_u32(&r);
	if (bits & HAS_FLAGS)
		a->flags = rd_u32(&r);
	if (bits & HAS_PARENT)
		out->parent = rd_u64(&r);
	root_read(&r, bits, &a->root);
	if (bits & HAS_QUOTA)
		a->quota = rd_u64(&r);
	if (bits & HAS_TRASH)
		out->trash = rd_u64(&r);
	if (bits & HAS_RECUT)
		recut_read(&r, a);
	if (!(bits & HAS_SIZE))
		a->size = a->root.length;
	return rd_done(&r) && is_sound(out, bits) ? 0 : -E_CORRUPT;
}

int ms_inode_get(struct ms_txn *txn, inode_no ino, struct ms_inode *out)
{
	struct ms_key key = ms_key_number(MS_KEY_INODE, ino);
	const void *value;
	uint32_t len;
	int rc = ms_txn_get(txn, key.bytes, key.len, &value, &len);

	if (rc < 0)
		return rc == -E_NOENT ? -E_STALE : rc;
	rc = ms_inode_decode(value, len, out);
	out->attr.ino = ino;
	return rc;
}

void ms_inode_put(struct ms_txn *txn, const struct ms_inode *inode)
{
	struct ms_key key = ms_key_number(MS_KEY_INODE, inode->attr.ino);
	uint8_t value[MS_INODE_BYTES_MAX];
	size_t len = ms_inode_encode(inode, value);

	ASSERT(inode->attr.ino != 0);
	ms_txn_put(txn, key.bytes, key.len, value, (uint32_t)len);
}

void ms_inode_touch(struct ms_inode *inode, uint64_t wall_ns, bool mtime)
{
	inode->attr.ctime_ns = (int64_t)wall_ns;
	if (mtime)
		inode->attr.mtime_ns = (int64_t)wall_ns;
	inode->attr.version++;
}

void ms_inode_kill_priv(struct ms_inode *inode, uint32_t kill)
{
	inode->attr.mode &= ~(uint32_t)S_ISUID;
	if (inode->attr.mode & S_IXGRP || kill & MS_KILL_SGID)
		inode->attr.mode &= ~(uint32_t)S_ISGID;
}
