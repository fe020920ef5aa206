"""Every operator: importing this package fills the registry."""

from __future__ import annotations

from archdsl.ops import activation as activation
from archdsl.ops import along as along
from archdsl.ops import arithmetic as arithmetic
from archdsl.ops import attention as attention
from archdsl.ops import comparison as comparison
from archdsl.ops import conv as conv
from archdsl.ops import dropout as dropout
from archdsl.ops import indexing as indexing
from archdsl.ops import joining as joining
from archdsl.ops import linear as linear
from archdsl.ops import mathematics as mathematics
from archdsl.ops import multihead as multihead
from archdsl.ops import norm as norm
from archdsl.ops import padding as padding
from archdsl.ops import patterns as patterns
from archdsl.ops import pool as pool
from archdsl.ops import positions as positions
from archdsl.ops import rectifiers as rectifiers
from archdsl.ops import recurrent as recurrent
from archdsl.ops import reduce as reduce
from archdsl.ops import resize as resize
from archdsl.ops import shape as shape
from archdsl.ops import softmax as softmax
from archdsl.ops import sources as sources
