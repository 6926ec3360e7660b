"""Races: a search's architecture against others, all trained from scratch, by successive halving over seeds.

    search_run.py   what a race reads of a search, from its files alone
    arms.py         what takes part
    statistics.py   paired differences and their intervals
    rules.py        when an arm ends, and which one is chosen
    schedule.py     which trainings are wanted next, replayed from the finished ones
    running.py      trains them, alone or beside other processes
    verdict.py      what the race says at its end
    record.py       race.json, free of torch

To add an arm, write a line in `first_arms` or `second_arms` (arms.py).
"""
