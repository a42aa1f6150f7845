"""An object as a C header for libbpf: `bombus gen skeleton --lang c`. Structs and functions have the names that users
of bpftool's skeletons know; the rest is ours.

Facts: Linux 6.12 tools/lib/bpf/libbpf.h (struct bpf_object_skeleton), tools/bpf/bpftool/Documentation/bpftool-gen.rst.
"""

from __future__ import annotations

from bombus.btf.declare import LINKS, Declarer
from bombus.btf.dump_c import CDumper
from bombus.btf.types import MODIFIERS, Type
from bombus.errors import NotSupported, ObjectError
from bombus.object.model import MapSpec, Object
from bombus.skeleton.types import variables
from bombus.spec.maptypes import BPF_F_MMAPABLE

_PER_LINE = 24  # bytes of the object


def header(obj: Object, data: bytes, *, name: str = "") -> str:
    """The header's text. name: of the struct; by default that of the file, with underscores for what C does not take.

    Types of variables that have names must be declared before the header is included, as with bpftool's. NotSupported
    for big-endian objects.
    """
    if obj.byteorder != "little":
        raise NotSupported("a skeleton of a big-endian object")
    return _Header(obj, data, name or identifier(obj.name)).text()


def identifier(text: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in text)


class _Plain(Declarer):
    """Spells types without const, volatile and restrict: user space sets read-only variables too, before the load."""

    __slots__ = ()

    def declare(self, type_id: int, name: str, level: int = 0) -> str:
        chain: list[tuple[int, Type]] = []
        while True:
            type_ = self.btf.type(type_id)
            if type_.kind not in MODIFIERS:
                chain.append((type_id, type_))
            if not isinstance(type_, LINKS):
                break
            type_id = type_.type
        return self._spell(chain, name, level)


class _Header:
    def __init__(self, obj: Object, data: bytes, name: str) -> None:
        if name[:1].isdigit() or not name.isidentifier() or not name.isascii():
            raise ObjectError(f"{name!r} is no name for a C struct", path=obj.name)
        self.obj = obj
        self.data = data
        self.name = name
        self.guard = f"__{name.upper()}_SKEL_H__"

    def text(self) -> str:
        parts = [self._top(), self._struct(), self._functions(), self._create(), self._bytes()]
        return "\n".join([*parts, f"#endif /* {self.guard} */"]) + "\n"

    def _top(self) -> str:
        return (
            f"/* Made by `bombus gen skeleton --lang c` of {self.obj.name}. */\n"
            f"#ifndef {self.guard}\n#define {self.guard}\n\n"
            "#include <errno.h>\n#include <stdlib.h>\n#include <bpf/libbpf.h>\n"
        )

    # What there is

    def _maps(self) -> list[tuple[str, MapSpec]]:
        return [(identifier(spec.section[1:] if spec.section else spec.name), spec) for spec in self.obj.maps]

    def _sections(self) -> list[tuple[str, MapSpec]]:
        """Data sections with variables that have names."""
        return [(i, spec) for i, spec in self._maps() if spec.flags & BPF_F_MMAPABLE and variables(self.obj, spec)]

    def _struct(self) -> str:
        name = self.name
        lines = [f"struct {name} {{", "\tstruct bpf_object_skeleton *skeleton;", "\tstruct bpf_object *obj;"]
        lines += self._group("maps", [f"struct bpf_map *{ident};" for ident, _ in self._maps()])
        programs = [identifier(program.name) for program in self.obj.programs]
        lines += self._group("progs", [f"struct bpf_program *{ident};" for ident in programs])
        lines += self._group("links", [f"struct bpf_link *{ident};" for ident in programs])
        for ident, spec in self._sections():
            lines += [f"\tstruct {name}__{ident} {{", *self._variables(spec), f"\t}} *{ident};"]
        lines += [
            "#ifdef __cplusplus",
            f"\tstatic inline struct {name} *open(const struct bpf_object_open_opts *opts = nullptr);",
            f"\tstatic inline struct {name} *open_and_load();",
            f"\tstatic inline int load(struct {name} *skel);",
            f"\tstatic inline int attach(struct {name} *skel);",
            f"\tstatic inline void detach(struct {name} *skel);",
            f"\tstatic inline void destroy(struct {name} *skel);",
            "\tstatic inline const void *elf_bytes(size_t *size);",
            "#endif",
            "};",
        ]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _group(name: str, members: list[str]) -> list[str]:
        return ["\tstruct {", *(f"\t\t{member}" for member in members), f"\t}} {name};"] if members else []

    def _variables(self, spec: MapSpec) -> list[str]:
        btf = self.obj.btf
        assert btf is not None
        plain = _Plain(btf, CDumper(btf).named)
        lines: list[str] = []
        at, pads = 0, 0
        for variable, type_id, offset in variables(self.obj, spec):
            align = btf.align_of(type_id) or 1
            if (at + align - 1) // align * align != offset:
                lines.append(f"\t\tchar __pad{pads}[{offset - at}];")
                pads += 1
            lines.append(f"\t\t{plain.declare(type_id, identifier(variable), 2)};")
            at = offset + btf.size_of(type_id)
        return lines

    # What it does

    def _functions(self) -> str:
        text = """\
static inline int NAME__create_skeleton(struct NAME *skel);
static inline const void *NAME__elf_bytes(size_t *size);

static inline void NAME__destroy(struct NAME *skel)
{
	if (skel) {
		if (skel->skeleton)
			bpf_object__destroy_skeleton(skel->skeleton);
		free(skel);
	}
}

static inline struct NAME *NAME__open_opts(const struct bpf_object_open_opts *opts)
{
	struct NAME *skel = (struct NAME *)calloc(1, sizeof(*skel));
	int err = skel ? NAME__create_skeleton(skel) : -ENOMEM;

	if (!err)
		err = bpf_object__open_skeleton(skel->skeleton, opts);
	if (!err)
		return skel;
	NAME__destroy(skel);
	errno = -err;
	return NULL;
}

static inline struct NAME *NAME__open(void)
{
	return NAME__open_opts(NULL);
}

static inline int NAME__load(struct NAME *skel)
{
	return bpf_object__load_skeleton(skel->skeleton);
}

static inline struct NAME *NAME__open_and_load(void)
{
	struct NAME *skel = NAME__open();
	int err = skel ? NAME__load(skel) : 0;

	if (!err)
		return skel;
	NAME__destroy(skel);
	errno = -err;
	return NULL;
}

static inline int NAME__attach(struct NAME *skel)
{
	return bpf_object__attach_skeleton(skel->skeleton);
}

static inline void NAME__detach(struct NAME *skel)
{
	bpf_object__detach_skeleton(skel->skeleton);
}

#ifdef __cplusplus
inline struct NAME *NAME::open(const struct bpf_object_open_opts *opts) { return NAME__open_opts(opts); }
inline struct NAME *NAME::open_and_load() { return NAME__open_and_load(); }
inline int NAME::load(struct NAME *skel) { return NAME__load(skel); }
inline int NAME::attach(struct NAME *skel) { return NAME__attach(skel); }
inline void NAME::detach(struct NAME *skel) { NAME__detach(skel); }
inline void NAME::destroy(struct NAME *skel) { NAME__destroy(skel); }
inline const void *NAME::elf_bytes(size_t *size) { return NAME__elf_bytes(size); }
#endif
"""
        return text.replace("NAME", self.name)

    def _create(self) -> str:
        """libbpf frees the skeleton and both tables, so that each is an allocation of its own."""
        name, maps, programs = self.name, self._maps(), self.obj.programs
        mapped = {ident for ident, _ in self._sections()}
        lines = [
            f"static inline int {name}__create_skeleton(struct {name} *skel)", "{",
            "\tstruct bpf_object_skeleton *s = (struct bpf_object_skeleton *)calloc(1, sizeof(*s));", "",
            "\tif (!s)", "\t\treturn -ENOMEM;",
            "\ts->sz = sizeof(*s);", f'\ts->name = "{name}";', "\ts->obj = &skel->obj;",
            f"\ts->data = {name}__elf_bytes(&s->data_sz);",
        ]  # fmt: skip
        if maps:
            lines += [
                f"\ts->map_cnt = {len(maps)};", "\ts->map_skel_sz = sizeof(*s->maps);",
                "\ts->maps = (struct bpf_map_skeleton *)calloc(s->map_cnt, s->map_skel_sz);",
                "\tif (!s->maps)", "\t\tgoto failed;",
            ]  # fmt: skip
            for number, (ident, spec) in enumerate(maps):
                lines += [f'\ts->maps[{number}].name = "{spec.section or spec.name}";',
                          f"\ts->maps[{number}].map = &skel->maps.{ident};"]  # fmt: skip
                if ident in mapped:
                    lines.append(f"\ts->maps[{number}].mmaped = (void **)&skel->{ident};")
        if programs:
            lines += [
                f"\ts->prog_cnt = {len(programs)};", "\ts->prog_skel_sz = sizeof(*s->progs);",
                "\ts->progs = (struct bpf_prog_skeleton *)calloc(s->prog_cnt, s->prog_skel_sz);",
                "\tif (!s->progs)", "\t\tgoto failed;",
            ]  # fmt: skip
            for number, program in enumerate(programs):
                ident = identifier(program.name)
                lines += [f'\ts->progs[{number}].name = "{program.name}";',
                          f"\ts->progs[{number}].prog = &skel->progs.{ident};",
                          f"\ts->progs[{number}].link = &skel->links.{ident};"]  # fmt: skip
        lines += ["\tskel->skeleton = s;", "\treturn 0;"]
        if maps or programs:
            lines += ["failed:", "\tfree(s->maps);", "\tfree(s);", "\treturn -ENOMEM;"]
        return "\n".join([*lines, "}"]) + "\n"

    def _bytes(self) -> str:
        rows = [
            '\t\t"' + "".join(f"\\{byte:03o}" for byte in self.data[at : at + _PER_LINE]) + '"'
            for at in range(0, len(self.data), _PER_LINE)
        ]
        return "\n".join([
            f"static inline const void *{self.name}__elf_bytes(size_t *size)", "{",
            f"\tstatic const char data[{len(self.data) + 1}] __attribute__((aligned(8))) =", "\n".join(rows) + ";", "",
            f"\t*size = {len(self.data)};", "\treturn data;", "}", "",
        ])  # fmt: skip
