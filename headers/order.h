/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * Memory ordering between the gate and the workers.
 */
#ifndef XRUDP_ORDER_H
#define XRUDP_ORDER_H

#include <bpf/bpf_helpers.h>

#define READ_ONCE(x)	 (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

/*
 * Ordering against a worker on another CPU. x86 keeps loads in order and
 * stores in order, so only the compiler has to be held back; elsewhere an
 * atomic instruction that returns a value is a full barrier.
 */
#ifdef __TARGET_ARCH_x86
#define load_acquire(p)                             \
	({                                          \
		typeof(*(p)) __v = READ_ONCE(*(p)); \
		barrier();                          \
		__v;                                \
	})
#define store_release(p, v)          \
	do {                         \
		barrier();           \
		WRITE_ONCE(*(p), v); \
	} while (0)
#else
#define load_acquire(p)	    __sync_fetch_and_add(p, 0)
#define store_release(p, v) ((void)__sync_lock_test_and_set(p, v))
#endif

#endif
