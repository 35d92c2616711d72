"""Short texts for benchmarks, English and Chinese, about 5 to 50 tokens: made of parts, the same in every run.

Each goes with the model that such a text would be sent to. A third are Chinese.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

COUNT = 240
_SEED = 20

_THINGS = ("card", "debit card", "account", "savings account", "transfer", "standing order", "top-up", "refund", "PIN")
_PLACES = ("at the supermarket", "abroad", "in the app", "at a cash machine", "online", "at a petrol station")
_TIMES = ("yesterday", "this morning", "three days ago", "last Friday", "on the 14th", "twice since Monday")
_OPENINGS = ("", "", "hi, ", "hello there, ", "sorry to bother you again but ", "I have a quick question: ")
_ENDINGS = (
    "",
    "",
    "?",
    ", please help",
    ", and nobody at the branch could tell me why",
    ". I already restarted the phone and tried a second time, with the same result",
    ". It matters because my rent is due tomorrow and the landlord does not accept any other way of paying",
)
_ENGLISH = (
    "where is my {thing}",
    "my {thing} was declined {place} {time}",
    "why is there a fee for the {thing}",
    "I need to change the limit of my {thing}",
    "somebody used my {thing} {place} and it was not me",
    "how long does a {thing} take to another country",
    "the {thing} from {time} still shows as pending",
    "can I close the {thing} that I opened {time}",
    "I was charged two times {place} {time}",
    "the exchange rate was wrong when I paid {place}",
    "is it possible to get a second {thing} for my daughter",
    "I forgot the code for my {thing} and now it is blocked {place}",
)

_SUBJECTS = ("我", "孩子", "我妈妈", "老人家", "我爱人", "宝宝三岁，")
_SYMPTOMS = (
    "头疼",
    "一直咳嗽",
    "肚子不舒服",
    "发烧到三十九度",
    "腰疼得厉害",
    "晚上睡不着",
    "皮肤发红发痒",
    "眼睛看不清",
)
_SINCE = ("", "两天了", "从上周开始", "已经半个月", "吃完饭以后", "一到晚上就更严重")
_QUESTIONS = (
    "",
    "，应该挂哪个科？",
    "，需要马上去医院吗",
    "，吃了药也没有好转，请问要做什么检查？",
    "，之前在别的医院看过，医生说没有大问题，可是最近又犯了，很担心，想请问一下应该怎么办才好",
    "，有什么要注意的？",
)


@dataclass(frozen=True, slots=True)
class Text:
    """A text and the name of its model."""

    text: str
    model: str


def texts() -> list[Text]:
    """Returns COUNT different texts in a mixed order, the same in every run."""
    chance = random.Random(_SEED)
    english = [
        Text(opening + body.format(thing=thing, place=place, time=time) + ending, "banking")
        for body, thing, place, time, opening, ending in _draw(
            chance, _ENGLISH, _THINGS, _PLACES, _TIMES, _OPENINGS, _ENDINGS
        )
    ]
    chinese = [Text("".join(parts), "triage") for parts in _draw(chance, _SUBJECTS, _SYMPTOMS, _SINCE, _QUESTIONS)]
    third = COUNT // 3
    chosen = list(dict.fromkeys(english))[: COUNT - third] + list(dict.fromkeys(chinese))[:third]
    chance.shuffle(chosen)
    return chosen


def _draw(chance: random.Random, *parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """A few thousand combinations in a mixed order."""
    if len(parts) <= 4:
        combinations = list(itertools.product(*parts))
        chance.shuffle(combinations)
        return combinations
    return [tuple(chance.choice(choices) for choices in parts) for _ in range(2000)]
