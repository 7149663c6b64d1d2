"""`[retention]` in `muniment.toml`."""

from datetime import timedelta
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from muniment.access import records
from muniment.oversight.retention import Class, Rules
from muniment.oversight.retention_presets import PRESETS, classes_of
from muniment.runtime.setting_values import Length, Name

_Kind = Annotated[str, StringConstraints(max_length=80)]
_ClassName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")]


class ClassSection(BaseModel):
    """What is kept for how long. Each setting that is left out asks for nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: kept for at least so long, as in `400d`, counted from the end of its case
    floor: Length | None = None
    #: gone after so long; without it nothing ever goes
    ceiling: Length | None = None
    #: kinds of records whose sections it is about, as in `access:requested`
    kinds: tuple[_Kind, ...] = Field(default=(), max_length=100)
    #: names of sections, as in `reason`
    sections: tuple[_Kind, ...] = Field(default=(), max_length=100)
    #: only of these resources
    resources: tuple[Name, ...] = Field(default=(), max_length=1000)
    #: only of resources in these environments
    environments: tuple[Name, ...] = Field(default=(), max_length=100)
    #: only of resources whose data has one of these labels
    data: tuple[Name, ...] = Field(default=(), max_length=100)
    #: raw events of these sources instead of sections; `["*"]` for all
    sources: tuple[str, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _possible(self) -> "ClassSection":
        if self.floor is None and self.ceiling is None:
            raise ValueError("a class has a `floor`, a `ceiling`, or both")
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError("its `floor` lies beyond its `ceiling`: nothing can be so")
        if self.sources and (self.kinds or self.sections or self.environments or self.data):
            raise ValueError(
                "a class with `sources` is about raw events: of a class, name these "
                "and `resources` alone"
            )
        return self

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in records.KINDS or not records.KINDS[kind].SECTIONS:
                raise ValueError(f"`{kind}` is no kind of record with a sealed section")
        return kinds

    @field_validator("sections")
    @classmethod
    def _of_some_kind(cls, sections: tuple[str, ...]) -> tuple[str, ...]:
        there = {name for kind in records.KINDS.values() for name in kind.SECTIONS}
        for name in sections:
            if name not in there:
                raise ValueError(f"no record has a section `{name}`: {', '.join(sorted(there))}")
        return sections


class RetentionSection(BaseModel):
    """What is kept for how long, and what goes. Nothing does unless a class has a ceiling."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: floors that others ask for, by name: `muniment retention list --presets` names them
    presets: tuple[str, ...] = Field(default=(), max_length=20)
    #: by a name of your own
    classes: dict[_ClassName, ClassSection] = Field(default={}, max_length=200)
    #: so many sections and batches of events one person may have erased at once; above it takes two
    two_people_above: int = Field(default=100, ge=0, le=1_000_000)
    #: likewise of raw events, however few batches they lie in
    two_people_above_events: int = Field(default=10_000, ge=0, le=1_000_000_000)
    #: how often it is looked for what has come to its end; without it only when somebody asks
    every: Length | None = None
    #: what a scheduled look finds is erased without anybody, up to both of these
    automatic: bool = False

    @field_validator("presets")
    @classmethod
    def _there(cls, presets: tuple[str, ...]) -> tuple[str, ...]:
        for name in presets:
            if name not in PRESETS:
                raise ValueError(f"`{name}` is no preset: there are {', '.join(sorted(PRESETS))}")
            if PRESETS[name].floor is None:
                raise ValueError(
                    f"`{name}` gives no number ({PRESETS[name].note}): write a class of your own"
                )
        return presets

    @model_validator(mode="after")
    def _apart(self) -> "RetentionSection":
        if both := sorted({*self.presets} & self.classes.keys()):
            raise ValueError(f"`classes.{both[0]}` has the name of a preset that is in force")
        if self.every is not None and self.every < timedelta(minutes=1):
            raise ValueError("`every` is at least 1m")
        if self.automatic and self.every is None:
            raise ValueError("`automatic` is about scheduled looks: set `every`")
        return self

    def rules(self) -> Rules:
        """As runs go by them."""
        presets = [each for name in self.presets for each in classes_of(name)]
        own = [_class(name, each) for name, each in self.classes.items()]
        return Rules(
            classes=(*presets, *own),
            two_people_above=self.two_people_above,
            two_people_above_events=self.two_people_above_events,
            automatic=self.automatic,
            every=self.every,
        )


def _class(name: str, section: ClassSection) -> Class:
    return Class(
        name=name,
        kinds=frozenset(section.kinds),
        sections=frozenset(section.sections),
        resources=frozenset(section.resources),
        environments=frozenset(section.environments),
        data=frozenset(section.data),
        sources=frozenset(section.sources),
        floor=section.floor,
        ceiling=section.ceiling,
        origin="muniment.toml",
    )
