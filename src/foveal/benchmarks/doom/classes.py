"""The object classes of the Doom world: ViZDoom actors, one name each in words."""

from __future__ import annotations

# Folder name -> actor. Palette swaps (Baron of Hell, green armour, skull keys) are left out:
# a crop in the dark could not tell them from their twins.
CLASSES: dict[str, str] = {
    # monsters
    "arachnotron": "Arachnotron",
    "archvile": "Archvile",
    "cacodemon": "Cacodemon",
    "chaingun_guy": "ChaingunGuy",
    "demon": "Demon",
    "hell_knight": "HellKnight",
    "imp": "DoomImp",
    "lost_soul": "LostSoul",
    "mancubus": "Fatso",
    "pain_elemental": "PainElemental",
    "revenant": "Revenant",
    "shotgun_guy": "ShotgunGuy",
    "zombie": "ZombieMan",
    # weapons
    "bfg": "BFG9000",
    "chaingun": "Chaingun",
    "chainsaw": "Chainsaw",
    "plasma_rifle": "PlasmaRifle",
    "rocket_launcher": "RocketLauncher",
    "shotgun": "Shotgun",
    # ammunition, health, keys
    "backpack": "Backpack",
    "bullet_box": "ClipBox",
    "cell_pack": "CellPack",
    "rocket_box": "RocketBox",
    "shell_box": "ShellBox",
    "medikit": "Medikit",
    "armor": "BlueArmor",
    "soulsphere": "Soulsphere",
    "red_card": "RedCard",
    # decorations
    "barrel": "ExplosiveBarrel",
    "candelabra": "Candelabra",
    "evil_eye": "EvilEye",
    "floating_skull": "FloatingSkull",
    "heart_column": "HeartColumn",
    "heads_on_stick": "HeadsOnAStick",
    "tech_lamp": "TechLamp",
    "tech_pillar": "TechPillar",
    "torch": "BlueTorch",
    "tree": "BigTree",
    # corpses
    "dead_cacodemon": "DeadCacodemon",
    "dead_marine": "DeadMarine",
}

MONSTERS: tuple[str, ...] = tuple(CLASSES.values())[:13]

_NAMES = {actor.lower(): name for name, actor in CLASSES.items()}


def name_of(actor: str) -> str | None:
    """The class of an actor, if it is one of ``CLASSES``; ViZDoom's spelling of case varies."""
    return _NAMES.get(actor.lower())
