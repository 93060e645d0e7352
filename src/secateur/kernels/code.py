"""A tiny vocabulary for emitting LLVM IR: functions, loops, conditions, memory, vectors. Text in, text out.

Addresses are `ptr` and count in bytes. A `Value` is a typed name; arithmetic on values emits instructions, and
arithmetic of two Python numbers stays in Python, so emitters read like the loops they emit. Changing numbers are
`Variable`s on the stack; LLVM's SROA turns them into registers. The language is that of https://llvm.org/docs/LangRef.html.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

I64, PTR, FLOAT, BIT = "i64", "ptr", "float", "i1"


def vector(lanes: int, element: str = FLOAT) -> str:
    """The type of `lanes` elements."""
    return f"<{lanes} x {element}>"


def literal(number: float) -> str:
    """A float32 constant as LLVM writes it: the bits of the float64 that equals the float32."""
    (single,) = struct.unpack("<f", struct.pack("<f", number))
    return f"0x{struct.unpack('<Q', struct.pack('<d', single))[0]:016X}"


@dataclass(frozen=True, eq=False)
class Value:
    """An operand of a function: a type and how it is written."""

    code: Function
    type: str
    text: str

    def __add__(self, other: Value | int) -> Value:
        if self.type == PTR:
            return self.code.emit(PTR, f"getelementptr i8, ptr {self.text}, i64 {written(other)}")
        return self.code.arithmetic("add", self, other)

    def __sub__(self, other: Value | int) -> Value:
        return self.code.arithmetic("sub", self, other)

    def __mul__(self, other: Value | int) -> Value:
        return self.code.arithmetic("mul", self, other)

    def __floordiv__(self, other: Value | int) -> Value:
        """Division of integers that are not negative."""
        return self.code.arithmetic("udiv", self, other)

    def __mod__(self, other: Value | int) -> Value:
        """Remainder of integers that are not negative."""
        return self.code.arithmetic("urem", self, other)

    def __and__(self, other: Value | int) -> Value:
        return self.code.arithmetic("and", self, other)

    def __neg__(self) -> Value:
        return self.code.emit(self.type, f"fneg {self.type} {self.text}")

    def __lt__(self, other: Value | int) -> Value:
        return self.code.compare("slt", self, other)

    def __le__(self, other: Value | int) -> Value:
        return self.code.compare("sle", self, other)

    def __radd__(self, other: int) -> Value:
        return self + other

    def __rmul__(self, other: int) -> Value:
        return self * other

    def __ge__(self, other: Value | int) -> Value:
        return self.code.compare("sge", self, other)

    def equals(self, other: Value | int) -> Value:
        """self == other, as a bit."""
        return self.code.compare("eq", self, other)


def written(operand: Value | float) -> str:
    """An operand without its type."""
    return operand.text if isinstance(operand, Value) else str(operand)


@dataclass(frozen=True)
class Variable:
    """A number or vector that changes: a place on the stack that ends up in a register."""

    place: Value
    type: str

    def get(self) -> Value:
        """The value now."""
        return self.place.code.load(self.type, self.place)

    def set(self, value: Value | int) -> None:
        """Change it."""
        self.place.code.store(
            value if isinstance(value, Value) else Value(self.place.code, self.type, str(value)), self.place
        )


@dataclass
class Function:
    """One function under construction. Arguments are values by name: `f["source"]`."""

    module: Module
    name: str
    parameters: dict[str, str]
    result: str = "void"
    linkage: str = ""
    stack: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    count: int = 0

    def __getitem__(self, name: str) -> Value:
        return Value(self, self.parameters[name], f"%{name}")

    def fresh(self, stem: str) -> str:
        """A name not used before."""
        self.count += 1
        return f"{stem}{self.count}"

    def emit(self, type_: str, instruction: str) -> Value:
        """An instruction with a result."""
        name = "%" + self.fresh("v")
        self.lines.append(f"  {name} = {instruction}")
        return Value(self, type_, name)

    def do(self, instruction: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {instruction}")

    def constant(self, number: int) -> Value:
        """An i64."""
        return Value(self, I64, str(number))

    def arithmetic(self, operation: str, a: Value, b: Value | int) -> Value:
        """Integers wrap as signed 64-bit numbers (never expected to); floats are IEEE, never reassociated."""
        prefix = "f" if a.type.rstrip(">").endswith(("float", "double")) else ""
        flags = " nsw" if not prefix and operation in ("add", "sub", "mul") else ""
        return self.emit(a.type, f"{prefix}{operation}{flags} {a.type} {a.text}, {written(b)}")

    def compare(self, relation: str, a: Value, b: Value | int) -> Value:
        """A comparison of integers."""
        return self.emit(BIT, f"icmp {relation} {a.type} {a.text}, {written(b)}")

    def float_below(self, a: Value, b: Value) -> Value:
        """a < b in every lane; false where either is NaN."""
        return self.emit(f"<{a.type[1:].split()[0]} x i1>", f"fcmp olt {a.type} {a.text}, {b.text}")

    def both(self, *conditions: Value) -> Value:
        """Whether all conditions hold."""
        first, *others = conditions
        for other in others:
            first = self.emit(BIT, f"and i1 {first.text}, {other.text}")
        return first

    def choose(self, condition: Value, a: Value | int, b: Value | int, type_: str = I64) -> Value:
        """a where the condition (a bit or a vector of bits) holds, else b."""
        return self.emit(type_, f"select {condition.type} {condition.text}, {type_} {written(a)}, {type_} {written(b)}")

    def least(self, a: Value, b: Value | int) -> Value:
        """The smaller of two i64."""
        return self.choose(a < b, a, b)

    def most(self, a: Value, b: Value | int) -> Value:
        """The larger of two i64."""
        return self.choose(a < b, b, a)

    def load(self, type_: str, address: Value, align: int = 4) -> Value:
        """A number or vector from memory; i64 and ptr must lie at multiples of 8 bytes."""
        align = 8 if type_ in (I64, PTR) else align
        return self.emit(type_, f"load {type_}, ptr {address.text}, align {align}")

    def store(self, value: Value, address: Value, align: int = 4) -> None:
        """A number or vector into memory."""
        align = 8 if value.type in (I64, PTR) else align
        self.do(f"store {value.type} {value.text}, ptr {address.text}, align {align}")

    def room(self, type_: str, count: int = 1, align: int = 64) -> Value:
        """Memory on the stack for the whole call."""
        name = "%" + self.fresh("s")
        self.stack.append(f"  {name} = alloca {type_}, i64 {count}, align {align}")
        return Value(self, PTR, name)

    def variable(self, type_: str, start: Value | int) -> Variable:
        """A new variable and its first value."""
        made = Variable(self.room(type_, align=8), type_)
        made.set(start)
        return made

    def splat(self, scalar: Value | float, lanes: int) -> Value:
        """A vector with the same number in every lane."""
        kind = vector(lanes)
        if not isinstance(scalar, Value):
            return Value(self, kind, "<" + ", ".join([f"float {literal(scalar)}"] * lanes) + ">")
        one = self.emit(kind, f"insertelement {kind} poison, float {scalar.text}, i64 0")
        return self.emit(
            kind, f"shufflevector {kind} {one.text}, {kind} poison, {vector(lanes, 'i32')} zeroinitializer"
        )

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a b + c, rounded once."""
        kind = a.type
        name = f"llvm.fma.{suffix(kind)}"
        self.module.declare(f"declare {kind} @{name}({kind}, {kind}, {kind})")
        return self.emit(kind, f"call {kind} @{name}({kind} {a.text}, {kind} {b.text}, {kind} {c.text})")

    def lanes_below(self, count: Value, lanes: int) -> Value:
        """A mask: lane i is set where i < count."""
        kind = vector(lanes, "i32")
        short = self.emit("i32", f"trunc i64 {self.most(self.least(count, lanes), 0).text} to i32")
        one = self.emit(kind, f"insertelement {kind} poison, i32 {short.text}, i64 0")
        wide = self.emit(kind, f"shufflevector {kind} {one.text}, {kind} poison, {kind} zeroinitializer")
        steps = "<" + ", ".join(f"i32 {lane}" for lane in range(lanes)) + ">"
        return self.emit(vector(lanes, BIT), f"icmp ult {kind} {steps}, {wide.text}")

    def load_masked(self, type_: str, address: Value, mask: Value) -> Value:
        """Lanes of the mask from memory, zero elsewhere; other lanes are not touched, so they may lie outside."""
        name = f"llvm.masked.load.{suffix(type_)}.p0"
        self.module.declare(f"declare {type_} @{name}(ptr, i32, {mask.type}, {type_})")
        listed = f"ptr {address.text}, i32 {_align(type_)}, {mask.type} {mask.text}, {type_} zeroinitializer"
        return self.emit(type_, f"call {type_} @{name}({listed})")

    def store_masked(self, value: Value, address: Value, mask: Value) -> None:
        """Write the lanes of the mask only."""
        name = f"llvm.masked.store.{suffix(value.type)}.p0"
        self.module.declare(f"declare void @{name}({value.type}, ptr, i32, {mask.type})")
        given = f"{value.type} {value.text}, ptr {address.text}, i32 {_align(value.type)}, {mask.type} {mask.text}"
        self.do(f"call void @{name}({given})")

    def prefetch(self, address: Value, level: int, *, write: bool = False) -> None:
        """Ask for the cache line of an address that is read or written soon, into the cache of level 1 or 2."""
        self.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.do(f"call void @llvm.prefetch.p0(ptr {address.text}, i32 {int(write)}, i32 {4 - level}, i32 1)")

    def pin(self, value: Value, register: str) -> Value:
        """The same value; emits nothing, but LLVM moves neither what made it nor any load across.

        Left alone, LLVM hoists many loads at once, runs out of registers and spills, which halves the speed of a
        register tile. `register` is the letter of vector registers in inline assembly (Target.register).
        """
        kind = value.type
        return self.emit(kind, f'call {kind} asm sideeffect "", "={register},0,~{{memory}}"({kind} {value.text})')

    def add_atomic(self, address: Value, number: Value | int) -> Value:
        """Add to an i64 shared between threads; the value before."""
        return self.emit(I64, f"atomicrmw add ptr {address.text}, i64 {written(number)} seq_cst, align 8")

    def exchange(self, address: Value, number: int) -> Value:
        """Write a number shared between threads; the value before."""
        return self.emit(I64, f"atomicrmw xchg ptr {address.text}, i64 {number} seq_cst, align 8")

    def exchange_if(self, address: Value, expected: int, number: int) -> Value:
        """Write a number if the value is as expected; the value before in any case."""
        pair = f"cmpxchg ptr {address.text}, i64 {expected}, i64 {number} seq_cst seq_cst, align 8"
        both = self.emit("{ i64, i1 }", pair)
        return self.emit(I64, f"extractvalue {both.type} {both.text}, 0")

    def load_atomic(self, address: Value) -> Value:
        """Read an i64 that another thread may change."""
        return self.emit(I64, f"load atomic i64, ptr {address.text} seq_cst, align 8")

    def store_atomic(self, value: Value | int, address: Value) -> None:
        """Write an i64 that another thread reads; what was written before is visible to it."""
        self.do(f"store atomic i64 {written(value)}, ptr {address.text} seq_cst, align 8")

    def call(self, function: str | Value, arguments: Sequence[Value]) -> None:
        """Call a function without a result: of this module by name, or any by its address."""
        called = function.text if isinstance(function, Value) else f"@{function}"
        self.do(f"call void {called}({', '.join(f'{a.type} {a.text}' for a in arguments)})")

    def label(self, name: str) -> None:
        """A place to jump to."""
        self.lines.append(f"{name}:")

    def jump(self, name: str) -> None:
        """Go on at a label."""
        self.do(f"br label %{name}")

    def branch(self, condition: Value, yes: str, no: str) -> None:
        """Go on at one of two labels."""
        self.do(f"br i1 {condition.text}, label %{yes}, label %{no}")

    @contextmanager
    def loop(self, start: Value | int, stop: Value | int, step: Value | int = 1) -> Iterator[Value]:
        """for i in range(start, stop, step), step > 0. The body may use variables to carry values."""
        before, head, body, after = (self.fresh(stem) for stem in ("enter", "loop", "body", "done"))
        self.jump(before)
        self.label(before)
        self.jump(head)
        self.label(head)
        index, following, latch = ("%" + self.fresh("i"), "%" + self.fresh("n"), self.fresh("next"))
        self.do(f"{index} = phi i64 [ {written(start)}, %{before} ], [ {following}, %{latch} ]")
        i = Value(self, I64, index)
        self.branch(i < stop, body, after)
        self.label(body)
        yield i
        self.jump(latch)
        self.label(latch)
        self.do(f"{following} = add nsw i64 {index}, {written(step)}")
        self.jump(head)
        self.label(after)

    @contextmanager
    def repeat_until(self, count: int | None = None) -> Iterator[Callable[[Value], None]]:
        """Repeat the body until a condition holds, at most `count` times; the body hands the condition over at its end.

        A body that hands over nothing is repeated `count` times.
        """
        again, after = self.fresh("again"), self.fresh("over")
        left = self.variable(I64, count or 0)
        ends: list[Value] = []
        self.jump(again)
        self.label(again)
        yield ends.append
        if count is not None:
            left.set(left.get() - 1)
            ends.append(left.get() <= 0)
        for end in ends:
            more = self.fresh("more")
            self.branch(end, after, more)
            self.label(more)
        self.jump(again)
        self.label(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """if condition: ..."""
        then, after = self.fresh("then"), self.fresh("after")
        self.branch(condition, then, after)
        self.label(then)
        yield
        self.jump(after)
        self.label(after)

    @contextmanager
    def otherwise(self, condition: Value) -> Iterator[None]:
        """if not condition: ..."""
        with self.when(self.emit(BIT, f"xor i1 {condition.text}, true")):
            yield

    def give(self, value: Value | int | None = None) -> None:
        """Return."""
        self.do("ret void" if value is None else f"ret {self.result} {written(value)}")

    def text(self) -> str:
        """The function in LLVM's language."""
        listed = ", ".join(f"{kind} %{name}" for name, kind in self.parameters.items())
        body = "\n".join(["entry:", *self.stack, *self.lines])
        return f"define {self.linkage}{self.result} @{self.name}({listed}) nounwind {{\n{body}\n}}\n"


def suffix(type_: str) -> str:
    """A type as it is written in the name of an intrinsic: v16f32 for <16 x float>, v16i8 for <16 x i8>."""
    if type_ == FLOAT:
        return "f32"
    count, _, element = type_[1:-1].split()
    return f"v{count}{'f32' if element == FLOAT else element}"


def _align(type_: str) -> int:
    """Of the elements of a vector."""
    return 1 if type_.endswith(" i8>") else 4


@dataclass
class Module:
    """Functions that are compiled together."""

    functions: list[Function] = field(default_factory=list)
    declared: dict[str, None] = field(default_factory=dict)

    def function(self, name: str, parameters: dict[str, str], result: str = "void", *, inner: bool = False) -> Function:
        """A new function; an inner one is known in this module only."""
        made = Function(self, name, parameters, result, "internal " if inner else "")
        self.functions.append(made)
        return made

    def declare(self, line: str) -> None:
        """A function from elsewhere; once is enough."""
        self.declared[line] = None

    def text(self) -> str:
        """The module in LLVM's language."""
        return "\n".join([*self.declared, "", *(function.text() for function in self.functions)])
