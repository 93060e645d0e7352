"""Units (channels of a conv, neurons of a linear): where each one lives in a graph, which are dead, how they go.

Read in this order: layout (what is known), rules (how units flow through every op), probe (which values are constant),
settle (which units are dead), compact (the smaller graph). `ir/dead_units.py` puts them together.
"""
