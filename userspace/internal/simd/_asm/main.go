// Command asm writes the AVX2 kernels of package simd. See its go:generate line.
package main

import (
	"math"
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// lanes is how many float32 a register holds.
const lanes = 8

// Ordered, quiet "less or equal" of VCMPPS: false when either side is NaN.
const lessOrEqual = 0x12

func main() {
	ConstraintExpr("!purego")

	within()
	decode()
	validate()
	move()
	fletcher()

	Generate()
}

// squaredLength is (dx·dx + dy·dy) + dz·dz, in this order and without FMA, as
// the reference has it. It destroys its arguments.
func squaredLength(dx, dy, dz VecVirtual) VecVirtual {
	VMULPS(dx, dx, dx)
	VMULPS(dy, dy, dy)
	VMULPS(dz, dz, dz)
	VADDPS(dy, dx, dx)
	VADDPS(dz, dx, dx)
	return dx
}

func broadcast(param string) VecVirtual {
	value := YMM()
	VBROADCASTSS(address(param), value)
	return value
}

// address is where a scalar parameter lies.
func address(param string) Mem {
	basic, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	return basic.Addr
}

func pointer(param string) GPVirtual {
	p := GP64()
	Load(Param(param), p)
	return p
}

func within() {
	compaction := compactionTable()
	tails := tailTable()

	TEXT("withinAVX2", NOSPLIT, "func(near, far *uint32, x, y, z *float32, ids, spans *uint32, count int, cx, cy, cz, inner, outer float32) (nearCount, farCount int)")
	Doc("withinAVX2 is withinGeneric. It writes up to 7 elements past what it appends.")
	Pragma("noescape")

	x, y, z, ids := pointer("x"), pointer("y"), pointer("z"), pointer("ids")
	near, far := pointer("near"), pointer("far")
	spans, count := pointer("spans"), pointer("count")
	cx, cy, cz := broadcast("cx"), broadcast("cy"), broadcast("cz")
	inner, outer := broadcast("inner"), broadcast("outer")

	table := GP64()
	LEAQ(compaction, table)

	// Moves the lanes of id whose bits are set in mask to the front, and stores
	// them at to, which advances past them.
	compact := func(id VecVirtual, mask, to GPVirtual) {
		order, packed := YMM(), YMM()
		VPMOVZXBD(Mem{Base: table, Index: mask, Scale: 8}, order)
		VPERMD(id, order, packed)
		VMOVDQU(packed, Mem{Base: to})
		hits := GP64()
		POPCNTQ(mask, hits)
		LEAQ(Mem{Base: to, Index: hits, Scale: 4}, to)
	}

	i := GP64()
	block := func(load func(base GPVirtual, to VecVirtual), clip func(VecVirtual)) {
		dx, dy, dz, id := YMM(), YMM(), YMM(), YMM()
		load(x, dx)
		load(y, dy)
		load(z, dz)
		load(ids, id)
		VSUBPS(cx, dx, dx)
		VSUBPS(cy, dy, dy)
		VSUBPS(cz, dz, dz)
		distance := squaredLength(dx, dy, dz)

		isNear, isFar := YMM(), YMM()
		VCMPPS(U8(lessOrEqual), inner, distance, isNear)
		VCMPPS(U8(lessOrEqual), outer, distance, isFar)
		VANDNPS(isFar, isNear, isFar)
		clip(isNear)
		clip(isFar)

		nearMask, farMask := GP64(), GP64()
		VMOVMSKPS(isNear, nearMask.As32())
		VMOVMSKPS(isFar, farMask.As32())
		compact(id, nearMask, near)
		compact(id, farMask, far)
	}

	start := func(p GPVirtual, from Mem) { MOVL(from, p.As32()) }
	end, left := GP64(), GP64()

	Label("span")
	start(i, Mem{Base: spans})
	start(end, Mem{Base: spans, Disp: 4})
	MOVQ(end, left)
	SUBQ(i, left)
	SUBQ(Imm(lanes), left)
	JLT(LabelRef("tail"))

	Label("whole")
	block(func(base GPVirtual, to VecVirtual) {
		VMOVUPS(Mem{Base: base, Index: i, Scale: 4}, to)
	}, func(VecVirtual) {})
	ADDQ(Imm(lanes), i)
	SUBQ(Imm(lanes), left)
	JGE(LabelRef("whole"))

	// left is 8 less than what is left: from -8, nothing, to -1.
	Label("tail")
	CMPQ(left, I8(-lanes))
	JEQ(LabelRef("next"))
	tail, live := GP64(), YMM()
	LEAQ(tails, tail)
	NEGQ(left)
	VMOVUPS(Mem{Base: tail, Index: left, Scale: 4}, live)
	block(func(base GPVirtual, to VecVirtual) {
		VMASKMOVPS(Mem{Base: base, Index: i, Scale: 4}, live, to)
	}, func(hit VecVirtual) { VANDPS(live, hit, hit) })

	Label("next")
	ADDQ(Imm(8), spans)
	DECQ(count)
	JNE(LabelRef("span"))

	result := func(name string, end GPVirtual) {
		begin := pointer(name)
		SUBQ(begin, end)
		SHRQ(Imm(2), end)
		Store(end, Return(name+"Count"))
	}
	result("near", near)
	result("far", far)
	VZEROUPPER()
	RET()
}

// compactionTable has for each mask of 8 bits the lanes that are set, ascending,
// a byte each.
func compactionTable() Mem {
	table := GLOBL("compaction", RODATA|NOPTR)
	for mask := range 1 << lanes {
		var order uint64
		for left, n := uint(mask), 0; left != 0; left, n = left&(left-1), n+1 {
			order |= uint64(bits.TrailingZeros(left)) << (8 * n)
		}
		DATA(8*mask, U64(order))
	}
	return table
}

// tailTable has 8 set lanes and 8 clear ones: read from element n, the first 8-n
// lanes are set.
func tailTable() Mem {
	table := GLOBL("tails", RODATA|NOPTR)
	for lane := range 2 * lanes {
		set := uint32(math.MaxUint32)
		if lane >= lanes {
			set = 0
		}
		DATA(4*lane, U32(set))
	}
	return table
}

func decode() {
	const (
		size   = 20 // of a record
		fields = 4  // where the last 16 bytes begin: four unused, x, y, z
	)
	reverse := GLOBL("reverse", RODATA|NOPTR)
	for i := range 8 {
		word := uint32(0x00010203) + uint32(i%4)*0x04040404
		DATA(4*i, U32(word))
	}

	TEXT("decodeAVX2", NOSPLIT, "func(x, y, z *float32, records *byte, count int)")
	Doc("decodeAVX2 is decodeGeneric for a count that is a multiple of 8 and not 0.")
	Pragma("noescape")

	x, y, z := pointer("x"), pointer("y"), pointer("z")
	records, count := pointer("records"), pointer("count")
	swap := YMM()
	VMOVDQU(reverse, swap)

	Label("block")
	// Records n and n+4 share a register, because what follows stays within
	// halves of registers.
	var r [4]VecVirtual
	for n := range r {
		r[n] = YMM()
		VMOVDQU(Mem{Base: records, Disp: size*n + fields}, r[n].AsX())
		VINSERTI128(Imm(1), Mem{Base: records, Disp: size*(n+4) + fields}, r[n], r[n])
	}
	x01, x23, yz01, yz23 := YMM(), YMM(), YMM(), YMM()
	VUNPCKLPS(r[1], r[0], x01)
	VUNPCKLPS(r[3], r[2], x23)
	VUNPCKHPS(r[1], r[0], yz01)
	VUNPCKHPS(r[3], r[2], yz23)
	xs, ys, zs := YMM(), YMM(), YMM()
	VUNPCKHPD(x23, x01, xs)
	VUNPCKLPD(yz23, yz01, ys)
	VUNPCKHPD(yz23, yz01, zs)
	for _, out := range []struct{ value, to Register }{{xs, x}, {ys, y}, {zs, z}} {
		VPSHUFB(swap, out.value, out.value)
		VMOVDQU(out.value, Mem{Base: out.to})
		ADDQ(Imm(4*lanes), out.to)
	}
	ADDQ(Imm(size*lanes), records)
	SUBQ(Imm(lanes), count)
	JNE(LabelRef("block"))
	VZEROUPPER()
	RET()
}

func validate() {
	TEXT("validateAVX2", NOSPLIT, "func(ok, inRange *uint64, x, y, z, px, py, pz, allowed *float32, count int, limit float32)")
	Doc("validateAVX2 is validateGeneric for a count that is a multiple of 8 and not 0.")
	Pragma("noescape")

	ok, inRange := pointer("ok"), pointer("inRange")
	x, y, z := pointer("x"), pointer("y"), pointer("z")
	px, py, pz := pointer("px"), pointer("py"), pointer("pz")
	allowed, count := pointer("allowed"), pointer("count")
	limit := broadcast("limit")

	magnitude := YMM()
	VPCMPEQD(magnitude, magnitude, magnitude)
	VPSRLD(Imm(1), magnitude, magnitude)

	// i counts blocks: a byte of the masks, and 32 bytes of the arrays.
	i, offset := GP64(), GP64()
	XORQ(i, i)
	XORQ(offset, offset)
	SHRQ(Imm(3), count)

	Label("block")
	within, square := YMM(), YMM()
	var d [3]VecVirtual
	for axis, p := range [3]struct{ now, before GPVirtual }{{x, px}, {y, py}, {z, pz}} {
		d[axis] = YMM()
		VMOVUPS(Mem{Base: p.now, Index: offset, Scale: 1}, d[axis])
		size := YMM()
		VANDPS(magnitude, d[axis], size)
		if axis == 0 {
			VCMPPS(U8(lessOrEqual), limit, size, within)
		} else {
			VCMPPS(U8(lessOrEqual), limit, size, size)
			VANDPS(size, within, within)
		}
		VSUBPS(Mem{Base: p.before, Index: offset, Scale: 1}, d[axis], d[axis])
	}
	VMOVUPS(Mem{Base: allowed, Index: offset, Scale: 1}, square)
	VMULPS(square, square, square)
	distance := squaredLength(d[0], d[1], d[2])
	VCMPPS(U8(lessOrEqual), square, distance, distance)
	VANDPS(within, distance, distance)

	rangeBits, okBits := GP32(), GP32()
	VMOVMSKPS(within, rangeBits)
	VMOVMSKPS(distance, okBits)
	MOVB(rangeBits.As8(), Mem{Base: inRange, Index: i, Scale: 1})
	MOVB(okBits.As8(), Mem{Base: ok, Index: i, Scale: 1})
	ADDQ(Imm(4*lanes), offset)
	INCQ(i)
	CMPQ(i, count)
	JNE(LabelRef("block"))
	VZEROUPPER()
	RET()
}

func move() {
	bitOfLane := GLOBL("bitOfLane", RODATA|NOPTR)
	for lane := range lanes {
		DATA(4*lane, U32(1<<lane))
	}

	TEXT("moveAVX2", NOSPLIT, "func(x, y, z, fromX, fromY, fromZ *float32, mask *uint64, count int)")
	Doc("moveAVX2 is moveGeneric for a count that is a multiple of 8 and not 0.")
	Pragma("noescape")

	axes := [3]struct{ to, from GPVirtual }{
		{pointer("x"), pointer("fromX")},
		{pointer("y"), pointer("fromY")},
		{pointer("z"), pointer("fromZ")},
	}
	mask, count := pointer("mask"), pointer("count")
	bit := YMM()
	VMOVDQU(bitOfLane, bit)

	i, offset := GP64(), GP64()
	XORQ(i, i)
	XORQ(offset, offset)
	SHRQ(Imm(3), count)

	Label("block")
	selected := YMM()
	VPBROADCASTB(Mem{Base: mask, Index: i, Scale: 1}, selected)
	VPAND(bit, selected, selected)
	VPCMPEQD(bit, selected, selected)
	for _, axis := range axes {
		value := YMM()
		VMOVUPS(Mem{Base: axis.to, Index: offset, Scale: 1}, value)
		VBLENDVPS(selected, Mem{Base: axis.from, Index: offset, Scale: 1}, value, value)
		VMOVUPS(value, Mem{Base: axis.to, Index: offset, Scale: 1})
	}
	ADDQ(Imm(4*lanes), offset)
	INCQ(i)
	CMPQ(i, count)
	JNE(LabelRef("block"))
	VZEROUPPER()
	RET()
}

func fletcher() {
	const block = 32
	weights := GLOBL("weights", RODATA|NOPTR)
	for i := range block {
		DATA(i, U8(block-i))
	}

	TEXT("fletcherAVX2", NOSPLIT, "func(b *byte, count int) (sum1, sum2 uint32)")
	Doc("fletcherAVX2 is fletcherGeneric for a count that is a multiple of 32 and not 0.")
	Pragma("noescape")

	b, count := pointer("b"), pointer("count")
	zero, ones, weight := YMM(), YMM(), YMM()
	VPXOR(zero, zero, zero)
	VPCMPEQW(ones, ones, ones)
	VPSRLW(Imm(15), ones, ones)
	VMOVDQU(weights, weight)

	// total is the sum of the bytes, before that of total before each block, and
	// within that of the bytes times how far from the end of their block they are.
	total, before, within := YMM(), YMM(), YMM()
	for _, sum := range []VecVirtual{total, before, within} {
		VPXOR(sum, sum, sum)
	}
	Label("block")
	bytes, sum, products := YMM(), YMM(), YMM()
	VMOVDQU(Mem{Base: b}, bytes)
	VPADDQ(total, before, before)
	VPSADBW(zero, bytes, sum)
	VPADDQ(sum, total, total)
	VPMADDUBSW(weight, bytes, products)
	VPMADDWD(ones, products, products)
	VPADDD(products, within, within)
	ADDQ(Imm(block), b)
	SUBQ(Imm(block), count)
	JNE(LabelRef("block"))

	// A sum before a block counts for each byte of it. Only its lower half matters.
	VPSLLQ(Imm(32+5), before, before)
	VPSRLQ(Imm(32), before, before)
	VPADDD(before, within, within)
	for _, out := range []struct {
		sum  VecVirtual
		name string
	}{{total, "sum1"}, {within, "sum2"}} {
		half, result := XMM(), GP32()
		low := out.sum.AsX()
		VEXTRACTI128(Imm(1), out.sum, half)
		VPADDD(half, low, low)
		VPSHUFD(Imm(0x4e), low, half)
		VPADDD(half, low, low)
		VPSHUFD(Imm(0xb1), low, half)
		VPADDD(half, low, low)
		VMOVD(low, result)
		Store(result, Return(out.name))
	}
	VZEROUPPER()
	RET()
}
