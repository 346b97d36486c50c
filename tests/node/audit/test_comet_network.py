"""A real CometBFT network whose members vote and whose fourth validator signs twice: the audit follows all of it."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from web3 import AsyncHTTPProvider, AsyncWeb3

from chain import light
from chain.crypto.schemes import Scheme, SigningKey
from chain.engines.cometbft import binary
from chain.engines.cometbft.rpc import CometRpc
from chain.engines.errors import CometBinaryError, CometUnreachableError, UnknownHeightError
from chain.genesis import Genesis
from chain.light import Height, Timestamp
from chain.transaction import Fields, sign_transaction
from contracts.addresses import COUNCIL
from contracts.bindings import Council, Registry
from contracts.calls import Call
from contracts.upgrades import UpgradeKind
from merit.clock import SystemClock
from node.audit import AuditReport, audit_network
from node.machine.home import TimingFile
from node.testnet.layout import Layout, TestnetFile, free_port_base, make
from node.testnet.supervisor import Supervisor
from tests.node.audit.members_of import suspended
