/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated network: the twin of fs/net/net_uv.c. A struct sim_switch joins the hosts of a
 * world; sim_net_create() attaches one process, at a host name, as a struct net. Addresses are
 * "HOST:PORT" with the names given here; what a process listens on counts by its port alone, port 0
 * asks for a free one.
 *
 * Connections behave like TCP: inside one, frames arrive in order, once, or the connection ends;
 * between connections anything may overtake anything. The weather says how long frames take and how
 * often a connection breaks (what is under way is then lost, or all but the first frames to one
 * end; both ends hear -E_NOTCONN).
 *
 * Partitions: while a direction is cut nothing arrives that way; what was sent waits, as TCP would
 * send it again, and goes on when the cut is healed. A connection that waits longer than
 * SIM_NET_STALL_NS breaks. Connecting across a cut, either way, ends in -E_TIMEDOUT.
 *
 * Death: sim_net_kill(net, false) is the end of a process: peers see their connections end.
 * sim_net_kill(net, true) is a power cut: peers hear nothing; the host is cut off until the next
 * sim_net_create() there, which resets old connections. A dead net calls nobody, and does nothing;
 * destroy it like a live one (net->ops->destroy), after its loop was killed and its owner was
 * destroyed: the callbacks that are still owed (on_close, on_connect with -E_CANCELED) run inside
 * destroy.
 *
 * Frames are copied, so a pool belongs to one process alone. Callbacks run on the loop of their
 * net: a hanging loop (sim_loop_hang) receives nothing meanwhile. Threads: one.
 */
#ifndef CAIRN_TESTS_SIM_SIM_NET_H
#define CAIRN_TESTS_SIM_SIM_NET_H

#include "fs/net/net.h"
#include "tests/sim/sim_loop.h"

#define SIM_NET_STALL_NS       (20 * SIM_S)
#define SIM_NET_SEND_BYTES_MAX MiB(1)	/* queued on one connection, then -E_OVERLOADED */

struct sim_switch;

struct sim_weather {
	uint64_t delay_ns_min, delay_ns_max;	/* of each frame; default 50 us .. 500 us */
	uint32_t break_per_million;		/* of frames: the connection breaks */
	uint32_t refuse_per_million;		/* of connects: -E_CONNREFUSED */
};

must_check int sim_switch_create(struct sim_world *world, struct sim_switch **out);
/* its nets must be destroyed; NULL is allowed */
void sim_switch_destroy(struct sim_switch *sw);
void sim_switch_set_weather(struct sim_switch *sw, const struct sim_weather *weather);

/* Cut, or heal, what `from` sends to `to`; "*" is any host. A partition is two cuts. */
void sim_switch_cut(struct sim_switch *sw, const char *from, const char *to);
void sim_switch_uncut(struct sim_switch *sw, const char *from, const char *to);
void sim_switch_isolate(struct sim_switch *sw, const char *host);	/* both ways, from all */
/* undo all cuts; hosts without power stay away */
void sim_switch_heal(struct sim_switch *sw);
/* Break the connections between two hosts ("*": any) now; they may connect again. */
void sim_switch_break(struct sim_switch *sw, const char *a, const char *b);

/* Attach the process of `loop` at `host`. Frames that it receives are in buffers of `pool`. */
must_check int sim_net_create(struct sim_switch *sw, struct loop *loop, struct buf_pool *pool,
			      const char *host, struct net **out);
void sim_net_kill(struct net *net, bool is_power_cut);	/* may be repeated */

#endif
