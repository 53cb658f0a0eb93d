"""Facts that come from tables: capitals, calendar, planets, animals and small arithmetic.

Every function yields (wordings, answer). Wordings are complete questions.
"""

CAPITALS = """Argentina=Buenos Aires; Australia=Canberra; Austria=Vienna; Belgium=Brussels; Bolivia=Sucre;
Brazil=Brasilia; Bulgaria=Sofia; Canada=Ottawa; Chile=Santiago; China=Beijing; Colombia=Bogota; Croatia=Zagreb;
Cuba=Havana; Denmark=Copenhagen; Ecuador=Quito; Egypt=Cairo; England=London; Finland=Helsinki; France=Paris;
Germany=Berlin; Greece=Athens; Hungary=Budapest; Iceland=Reykjavik; India=New Delhi; Indonesia=Jakarta; Iran=Tehran;
Iraq=Baghdad; Ireland=Dublin; Italy=Rome; Japan=Tokyo; Kenya=Nairobi; Mexico=Mexico City; Mongolia=Ulaanbaatar;
Morocco=Rabat; Nepal=Kathmandu; New Zealand=Wellington; Nigeria=Abuja; Norway=Oslo; Peru=Lima; Poland=Warsaw;
Portugal=Lisbon; Romania=Bucharest; Russia=Moscow; Scotland=Edinburgh; South Korea=Seoul; Spain=Madrid;
Sweden=Stockholm; Switzerland=Bern; Thailand=Bangkok; Turkey=Ankara; Ukraine=Kyiv; Uruguay=Montevideo;
the United States=Washington; Vietnam=Hanoi"""

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = "thirty-one twenty-eight thirty-one thirty thirty-one thirty".split()
MONTH_DAYS += "thirty-one thirty-one thirty thirty-one thirty thirty-one".split()
SEASON = "winter winter spring spring spring summer summer summer autumn autumn autumn winter".split()
PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
SOUNDS = """dog=barks; cat=meows; cow=moos; sheep=bleats; horse=neighs; pig=grunts; duck=quacks; lion=roars;
bee=buzzes; frog=croaks; snake=hisses; owl=hoots; wolf=howls; llama=hums; mouse=squeaks; rooster=crows"""
YOUNG = """dog=puppy; cat=kitten; cow=calf; sheep=lamb; horse=foal; pig=piglet; duck=duckling; goose=gosling;
bear=cub; chicken=chick; goat=kid; llama=cria; frog=tadpole; kangaroo=joey"""
HOMES = """bird=nest; bee=hive; dog=kennel; horse=stable; fox=den; spider=web; rabbit=burrow; pig=sty"""

SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()
SMALL += "sixteen seventeen eighteen nineteen".split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def number(n):
    """n from 0 to 100 in words."""
    if n < 20:
        return SMALL[n]
    if n == 100:
        return "one hundred"
    return TENS[n // 10] + (f"-{SMALL[n % 10]}" if n % 10 else "")


def table(text):
    return [entry.strip().split("=") for entry in text.replace("\n", " ").split(";")]


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def capitals():
    for land, city in table(CAPITALS):
        yield [
            f"What is the capital of {land}?", f"What's the capital of {land}?",
            f"Which city is the capital of {land}?", f"What is {land}'s capital?",
            f"Tell me the capital of {land}.", f"Do you know the capital of {land}?",
            f"Name the capital of {land}.", f"Can you tell me the capital of {land}?",
            f"The capital of {land}?", f"What is the capital city of {land}?",
        ], f"The capital of {land} is {city}."
    for land, city in table(CAPITALS):
        yield [
            f"What country is {city} the capital of?", f"Which country has the capital {city}?",
            f"{city} is the capital of which country?", f"Where is {city}?", f"In which country is {city}?",
        ], f"{city} is the capital of {land}."


def calendar():
    for i, day in enumerate(DAYS):
        after, before = DAYS[(i + 1) % 7], DAYS[(i - 1) % 7]
        yield [
            f"Which day comes after {day}?", f"What day comes after {day}?", f"What comes after {day}?",
            f"What is the day after {day}?", f"Which day follows {day}?", f"Tell me the day after {day}.",
            f"If today is {day}, what is tomorrow?",
        ], f"{after} comes after {day}."
        yield [
            f"Which day comes before {day}?", f"What day comes before {day}?", f"What comes before {day}?",
            f"What is the day before {day}?", f"Tell me the day before {day}.",
            f"If today is {day}, what was yesterday?",
        ], f"{before} comes before {day}."
    for i, month in enumerate(MONTHS):
        after, before = MONTHS[(i + 1) % 12], MONTHS[(i - 1) % 12]
        yield [
            f"Which month comes after {month}?", f"What month comes after {month}?", f"What comes after {month}?",
            f"What is the month after {month}?", f"Which month follows {month}?",
        ], f"{after} comes after {month}."
        yield [
            f"Which month comes before {month}?", f"What month comes before {month}?",
            f"What comes before {month}?", f"What is the month before {month}?",
        ], f"{before} comes before {month}."
        days = MONTH_DAYS[i] + (" days, or twenty-nine in a leap year" if i == 1 else " days")
        yield [
            f"How many days are in {month}?", f"How many days does {month} have?", f"How long is {month}?",
            f"Tell me how many days {month} has.", f"Do you know how many days are in {month}?",
        ], f"{month} has {days}."
        yield [
            f"Which month is the {ORDINALS[i]} one?", f"What is the {ORDINALS[i]} month?",
            f"What is the {ORDINALS[i]} month of the year?", f"Name the {ORDINALS[i]} month of the year.",
        ], f"{month} is the {ORDINALS[i]} month of the year."
        yield [
            f"In which season is {month}?", f"Which season is {month} in?", f"What season is {month}?",
            f"What season does {month} belong to?",
        ], f"In the northern half of the world, {month} is in {SEASON[i]}."


def planets():
    for i, planet in enumerate(PLANETS):
        yield [
            f"Which planet is the {ORDINALS[i]} from the sun?", f"What is the {ORDINALS[i]} planet from the sun?",
            f"What is the {ORDINALS[i]} planet?", f"Which planet is number {number(i + 1)}?",
            f"Name the {ORDINALS[i]} planet.",
        ], f"{planet} is the {ORDINALS[i]} planet from the sun."
        yield [
            f"What is {planet}?", f"Tell me about {planet}.", f"Where is {planet}?", f"Is {planet} a planet?",
            f"What do you know about {planet}?", f"Which number does the planet {planet} have?",
        ], f"{planet} is a planet, and it is number {number(i + 1)} from the sun."


def animals():
    for animal, sound in table(SOUNDS):
        yield [
            f"What sound does {article(animal)} make?", f"Which sound does {article(animal)} make?",
            f"What does {article(animal)} say?", f"How does {article(animal)} sound?",
            f"What noise does {article(animal)} make?", f"Tell me what sound {article(animal)} makes.",
        ], f"{article(animal).capitalize()} {sound}."
    for animal, young in table(YOUNG):
        yield [
            f"What is a young {animal} called?", f"What is a baby {animal} called?",
            f"What do you call a young {animal}?", f"What is the name for a young {animal}?",
            f"How is a young {animal} called?", f"Tell me what a young {animal} is called.",
        ], f"A young {animal} is called {article(young)}."
    for animal, home in table(HOMES):
        yield [
            f"Where does {article(animal)} live?", f"What does {article(animal)} live in?",
            f"What is the home of {article(animal)}?", f"What is the home of {article(animal)} called?",
            f"Tell me where {article(animal)} lives.",
        ], f"{article(animal).capitalize()} lives in {article(home)}."


def arithmetic():
    def wordings(a, b, word, sign, more):
        x, y = number(a), number(b)
        return [
            f"What is {x} {word} {y}?", f"How much is {x} {word} {y}?", f"{x.capitalize()} {word} {y}?",
            f"What is {a} {word} {b}?", f"How much is {a} {word} {b}?", f"What is {a} {sign} {b}?",
            f"{a} {sign} {b}", f"{a} {sign} {b} = ?", f"Calculate {x} {word} {y}.",
            f"Can you tell me what {x} {word} {y} is?",
        ] + more

    for a in range(1, 11):
        for b in range(1, 11):
            more = [f"Add {number(a)} and {number(b)}.", f"What is the sum of {number(a)} and {number(b)}?"]
            answer = f"{number(a)} plus {number(b)} is {number(a + b)}."
            yield wordings(a, b, "plus", "+", more), answer.capitalize()
            if b <= a:
                more = [f"Take {number(b)} away from {number(a)}.", f"Subtract {number(b)} from {number(a)}."]
                answer = f"{number(a)} minus {number(b)} is {number(a - b)}."
                yield wordings(a, b, "minus", "-", more), answer.capitalize()
            more = [f"Multiply {number(a)} by {number(b)}.", f"What is the product of {number(a)} and {number(b)}?"]
            answer = f"{number(a)} times {number(b)} is {number(a * b)}."
            yield wordings(a, b, "times", "*", more), answer.capitalize()


def weighted():
    """(weight, wordings, answer): table facts are many and easy, so each counts less than a written one."""
    for weight, facts in ((0.6, capitals()), (0.5, calendar()), (0.6, planets()), (0.6, animals()), (0.3, arithmetic())):
        for wordings, answer in facts:
            yield weight, wordings, answer
