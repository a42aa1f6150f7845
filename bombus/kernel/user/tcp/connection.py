"""One TCP socket: its state, what it sends and what it makes of what arrives.

Modelled: handshake, data in order within the other's window, acknowledgements (at once, with data, or delayed until
`Sockets.idle`), FIN from either side, RST, ECN's handshake. Not modelled: loss and retransmission (a segment that a
program drops stays lost), TIME_WAIT, congestion (the window stays at its first 10), time: what Linux does within 40 ms
happens before anything else, what it does later at `idle`. Facts: Linux 6.12 net/ipv4/tcp_input.c, tcp_output.c,
tcp_minisocks.c, tcp.c (tcp_set_state, __tcp_close), tcp_ipv4.c.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Final

from bombus.errors import KernelError
from bombus.kernel.user.tcp import sockops
from bombus.kernel.user.tcp.segment import ACK, CWR, ECE, FIN, PSH, RST, SCALE, SYN, Place, Segment
from bombus.kernel.user.world import world_of
from bombus.spec.tcp import SockOp, SockOpFlag, TcpState

if TYPE_CHECKING:
    from bombus.kernel.user.sockets import UserSocket

_U32: Final = 0xFFFF_FFFF
_DEFAULT_MSS: Final = 536
_DEFAULT_MSS6: Final = 1220  # IPV6_MIN_MTU without headers
_STAMPS: Final = 12  # room that time stamps take in each header
_CWND: Final = 10
_NO_THRESHOLD: Final = 0x7FFF_FFFF
_WINDOW: Final = 1 << 16  # the largest that is offered; there is room for twice as much that nobody read
_QUICK: Final = 16  # segments that are acknowledged at once, TCP_MAX_QUICKACKS


class Tcp:
    """flags: which callbacks programs asked for."""

    def __init__(self, socket: UserSocket, listener: Tcp | None = None) -> None:
        self.socket = socket
        self.listener = listener
        self.state = TcpState.CLOSE if listener is None else TcpState.NEW_SYN_RECV
        self.flags = 0
        self.error = 0
        self.orphan = False  # nobody has a descriptor any more
        self.rest = False  # nothing but the end of the other side is waited for
        self.backlog = -1
        self.waiting: deque[Tcp] = deque()  # connections that nobody accepted yet
        self.requests = 0  # handshakes that are not through
        self.queue = bytearray()
        self.given = bytearray()  # by programs of sockmaps, as if it had arrived
        self.ended = False  # the other side sends no more
        self.iss = self.snd_una = self.snd_nxt = world_of(socket.kernel).random.getrandbits(32)
        self.rcv_nxt = self.rcv_wup = 0
        self.snd_wnd = self.max_window = 0
        self.window = _WINDOW
        self.clamp = _DEFAULT_MSS  # what the other's SYN said
        self.mss = _DEFAULT_MSS
        self.cwnd, self.ssthresh = _CWND, _NO_THRESHOLD
        self.packets_out = self.segs_in = self.segs_out = self.data_segs_in = self.data_segs_out = 0
        self.received = self.acked = 0
        self.ecn = False
        self.srtt = self.rtt_min = 0
        self.sent_at = 0
        self.peer_stamp = 0
        self.quick, self.pingpong, self.heard = 0, False, False
        self.delayed, self.pushes = False, 0

    # What is told

    def ends(self) -> tuple[Place, Place]:
        socket = self.socket
        return socket.local, socket.remote or (bytes(len(socket.local[0])), 0)

    def counters(self) -> dict[str, int]:
        """Members of struct bpf_tcp_sock and bpf_sock_ops."""
        return {
            "snd_cwnd": self.cwnd, "srtt_us": self.srtt << 3, "rtt_min": self.rtt_min or _U32,
            "snd_ssthresh": self.ssthresh, "rcv_nxt": self.rcv_nxt, "snd_nxt": self.snd_nxt, "snd_una": self.snd_una,
            "mss_cache": self.mss, "ecn_flags": int(self.ecn), "packets_out": self.packets_out,
            "segs_in": self.segs_in, "data_segs_in": self.data_segs_in, "segs_out": self.segs_out,
            "data_segs_out": self.data_segs_out, "bytes_received": self.received, "bytes_acked": self.acked,
        }  # fmt: skip

    @property
    def full(self) -> bool:
        """A connection, or one that listens: no mere request."""
        return self.state != TcpState.NEW_SYN_RECV

    def set_state(self, state: TcpState) -> None:
        if self.flags & SockOpFlag.STATE_CB_FLAG:
            sockops.call(self, SockOp.STATE_CB, self.state, state)
        self.state = state

    # Opening

    def listen(self, backlog: int) -> None:
        self.backlog = max(backlog, 0)
        if self.state != TcpState.LISTEN:
            self.state = TcpState.LISTEN
            sockops.call(self, SockOp.TCP_LISTEN_CB)

    def connect(self) -> None:
        """The socket has its addresses. KernelError(ECONNREFUSED), ETIMEDOUT when nothing comes back."""
        self.set_state(TcpState.SYN_SENT)
        sockops.call(self, SockOp.TCP_CONNECT_CB)
        self.mss = (_DEFAULT_MSS if len(self.socket.local[0]) == 4 else _DEFAULT_MSS6) - _STAMPS
        self._initial(full=True)
        self.packets_out = 1
        self.ecn = sockops.call(self, SockOp.NEEDS_ECN) == 1
        self.snd_nxt = self.iss + 1 & _U32
        flags = SYN | (ECE | CWR if self.ecn else 0)
        self._send(flags, seq=self.iss, mss=self._mss_option, window=self._mss_option, ect=self.ecn)
        if self.state == TcpState.ESTABLISHED:
            return
        if self.state != TcpState.CLOSE:
            self.set_state(TcpState.CLOSE)
            self.error = errno.ETIMEDOUT
        error, self.error = self.error, 0
        raise KernelError(error, "connect", "nobody listens there" if error == errno.ECONNREFUSED else "no answer")

    def _initial(self, *, full: bool) -> int:
        """Programs may choose the first window, in segments, and a time-out, which never comes. Returns the window, 0
        for none."""
        window = sockops.call(self, SockOp.RWND_INIT, full=full)
        sockops.call(self, SockOp.TIMEOUT_INIT, full=full)
        return max(window, 0)

    @property
    def _mss_option(self) -> int:
        return 65495 if len(self.socket.local[0]) == 4 else 65476

    def _half_window(self) -> None:
        """tcp_bound_to_half_wnd, when the other's window grew."""
        most = min(self.clamp, self._mss_option) - _STAMPS
        half = self.max_window >> 1 if self.max_window > _DEFAULT_MSS else self.max_window
        self.mss = min(most, half) if half else most

    def _requested(self, segment: Segment) -> None:
        """A SYN reached a socket that listens."""
        if len(self.waiting) + self.requests > self.backlog:
            return
        child = self.socket.child(segment.target, segment.source).tcp
        assert child is not None
        asks = segment.flags & (ECE | CWR) == ECE | CWR
        if asks:
            child.ecn = not segment.ect or sockops.call(child, SockOp.NEEDS_ECN, full=False) == 1
        child.rcv_nxt = child.rcv_wup = segment.seq + 1 & _U32
        child.clamp = segment.mss or _DEFAULT_MSS
        window = child._mss_option - _STAMPS
        wanted = child._initial(full=False) * window
        if wanted > child.window:  # tcp_openreq_init_rwin: there is more room then
            child.window, window = wanted & -(1 << SCALE), 0xFFFF
        ect = sockops.call(child, SockOp.NEEDS_ECN, full=False) == 1
        child.snd_nxt = child.iss + 1 & _U32
        self.requests += 1
        flags = SYN | ACK | (ECE if child.ecn else 0)
        child._send(flags, seq=child.iss, mss=child._mss_option, window=window, ect=ect, by=self.socket)

    # Sending

    def _send(
        self, flags: int, data: bytes = b"", *, seq: int | None = None, mss: int = 0, window: int | None = None,
        ect: bool = False, by: UserSocket | None = None,
    ) -> None:  # fmt: skip
        """by: whose programs see the packet."""
        local, remote = self.ends()
        self.sent_at = world_of(self.socket.kernel).clock.monotonic()
        seq = self.snd_nxt if seq is None else seq
        if window is None:
            window = self._offer() >> SCALE
        segment = Segment(
            local, remote, seq, self.rcv_nxt if flags & ACK else 0, flags, window, data, mss,
            (self._clock, self.peer_stamp), ect,
        )  # fmt: skip
        if by is None:
            self.segs_out += 1
            self.data_segs_out += bool(data)
        if flags & ACK:
            self.quick = max(0, self.quick - self.delayed)
            self.delayed, self.pushes, self.rcv_wup = False, 0, self.rcv_nxt
        (by or self.socket).transmit(segment)

    @property
    def _clock(self) -> int:
        """Milliseconds, of time stamps."""
        return world_of(self.socket.kernel).clock.monotonic() // 1_000_000 & _U32

    def _offer(self) -> int:
        """How much more the other side may send."""
        return max(min(2 * self.window - len(self.queue), self.window), 0)

    def _ack(self) -> None:
        self._send(ACK)

    def send(self, data: bytes) -> int:
        """What there is room for in the other's window. KernelError(EAGAIN, EPIPE, ...)."""
        self._failed("send")
        if self.state not in (TcpState.ESTABLISHED, TcpState.CLOSE_WAIT):
            raise KernelError(errno.EPIPE, "send", "the connection is not open")
        return self.push(data)

    def push(self, data: bytes) -> int:
        """Send, whatever programs of sockmaps say. KernelError(EAGAIN)."""
        room = self.snd_wnd - (self.snd_nxt - self.snd_una & _U32)
        if data and room <= 0:
            raise KernelError(errno.EAGAIN, "send", "the other side has to read first")
        taken = data[: max(room, 0)]
        if taken and self.heard:
            self.pingpong = True
        pieces = [taken[at : at + self.mss] for at in range(0, len(taken), self.mss)]
        for number, piece in enumerate(pieces):
            seq = self.snd_nxt
            self.snd_nxt = seq + len(piece) & _U32
            self.packets_out += 1
            self._send(ACK | (PSH if number == len(pieces) - 1 else 0), piece, seq=seq, ect=self.ecn)
        return len(taken)

    def recv(self, size: int) -> bytes:
        """b"" behind the end. KernelError(EAGAIN) when there is nothing."""
        if self.given:
            data = bytes(self.given[:size])
            del self.given[:size]
            return data
        if not self.queue:
            self._failed("recv")
            if self.ended or self.state in (TcpState.CLOSE, TcpState.LAST_ACK):
                return b""
            if self.state in (TcpState.LISTEN, TcpState.SYN_SENT):
                raise KernelError(errno.ENOTCONN, "recv")
            raise KernelError(errno.EAGAIN, "recv", "there is no data")
        data = bytes(self.queue[:size])
        offered = self._offer()
        del self.queue[:size]
        free = self._offer()
        pushed = not self.queue and (self.pushes > 1 or (self.pushes == 1 and not self.pingpong))
        much = self.rcv_nxt - self.rcv_wup & _U32 > _DEFAULT_MSS
        opened = not self.ended and 2 * offered <= self.window and free >= 2 * offered
        if self.state in (TcpState.ESTABLISHED, TcpState.FIN_WAIT1, TcpState.FIN_WAIT2, TcpState.CLOSE_WAIT) and (
            (self.delayed and (pushed or much)) or opened
        ):
            self._ack()
        return data

    def _failed(self, call: str) -> None:
        if self.error:
            error, self.error = self.error, 0
            raise KernelError(error, call)

    # Closing

    def close(self) -> None:
        """Nobody has the socket any more."""
        self.orphan = True
        if self.state == TcpState.LISTEN:
            self.set_state(TcpState.CLOSE)
            while self.waiting:
                child = self.waiting.popleft()
                child.orphan = True
                child._abort()
                child.socket.forget()
        elif self.state in (TcpState.SYN_SENT, TcpState.SYN_RECV):
            self.set_state(TcpState.CLOSE)
        elif self.queue and self.state != TcpState.CLOSE:
            self._abort()
        else:
            self.finish()
        if self.state == TcpState.CLOSE and not self.rest:
            self.socket.forget()

    def _abort(self) -> None:
        if self.state not in (TcpState.CLOSE, TcpState.NEW_SYN_RECV):
            self.set_state(TcpState.CLOSE)
        self._send(RST | ACK)

    def finish(self) -> None:
        """Send the FIN, once."""
        state = {TcpState.ESTABLISHED: TcpState.FIN_WAIT1, TcpState.CLOSE_WAIT: TcpState.LAST_ACK}.get(self.state)
        if state is None:
            return
        self.set_state(state)
        seq = self.snd_nxt
        self.snd_nxt = seq + 1 & _U32
        self.packets_out += 1
        self._send(FIN | ACK, seq=seq)

    def _reset(self, error: int) -> None:
        """The other side does not know the connection, or wants no more of it."""
        self.error = error
        self.packets_out = 0
        self._done()

    def _done(self) -> None:
        self.set_state(TcpState.CLOSE)
        self.delayed = False
        if self.orphan:
            self.socket.forget()

    def idle(self) -> None:
        """Time passes: what was to be acknowledged is."""
        self.heard = False
        if self.delayed:
            self.pingpong = False
            self._ack()

    # Receiving

    def input(self, segment: Segment) -> None:
        if segment.stamps is not None:
            self.peer_stamp = segment.stamps[0]
        if self.state == TcpState.LISTEN:
            if segment.flags & (SYN | ACK | RST) == SYN:
                self._requested(segment)
        elif self.state == TcpState.SYN_SENT:
            self._answered(segment)
        elif self.state == TcpState.NEW_SYN_RECV:
            self._completed(segment)
        elif self.state != TcpState.CLOSE:
            self._received(segment)
        elif self.rest:
            self._last(segment)

    def _answered(self, segment: Segment) -> None:
        self.segs_in += 1
        if not segment.flags & ACK or segment.ack != self.snd_nxt:
            return
        if segment.flags & RST:
            self._reset(errno.ECONNREFUSED)
            return
        self.rcv_nxt = self.rcv_wup = segment.seq + 1 & _U32
        self.ecn = self.ecn and segment.flags & (ECE | CWR) == ECE
        self.snd_una, self.packets_out, self.acked = segment.ack, 0, 1
        self.clamp = segment.mss or _DEFAULT_MSS
        self.snd_wnd = self.max_window = segment.window
        self._half_window()
        self._measured()
        self.set_state(TcpState.ESTABLISHED)
        sockops.call(self, SockOp.ACTIVE_ESTABLISHED_CB, segment=segment)
        self._ack()

    def _completed(self, segment: Segment) -> None:
        """The last step of the handshake makes a socket of the request."""
        listener = self.listener
        assert listener is not None
        if segment.flags & (ACK | RST | SYN) != ACK or segment.ack != self.snd_nxt or listener.state != TcpState.LISTEN:
            if segment.flags & RST:
                listener.requests -= 1
                self._done()
            return
        listener.requests -= 1
        self.flags, self.state = listener.flags, TcpState.SYN_RECV
        self.segs_in = 1
        self.snd_una = segment.ack
        self.snd_wnd = self.max_window = segment.window << SCALE
        self._half_window()
        self._measured()
        self.segs_in = 2
        sockops.call(self, SockOp.PASSIVE_ESTABLISHED_CB, segment=segment)
        self.set_state(TcpState.ESTABLISHED)
        listener.waiting.append(self)
        if segment.span:
            self._data(segment)

    def _last(self, segment: Segment) -> None:
        """What is left of a socket that is closed, but for the other side's FIN, acknowledges that one and takes no
        data. No program sees what it sends."""
        local, remote = self.ends()
        answer = Segment(local, remote, self.snd_nxt, segment.seq + segment.span & _U32, ACK, _WINDOW >> SCALE)
        answer.stamps = self._clock, self.peer_stamp
        if segment.data:
            answer = Segment(local, remote, segment.ack, 0, RST, 0)
        elif not segment.flags & (FIN | RST):
            return
        self.socket.forget()
        if not segment.flags & RST:
            self.socket.answer(answer)

    def _measured(self) -> None:
        """An acknowledgement told how long the way is."""
        now = world_of(self.socket.kernel).clock.monotonic()
        rtt = max((now - self.sent_at) // 1000, 1)
        self.srtt = rtt if not self.srtt else max(self.srtt + (rtt - self.srtt) // 8, 1)
        self.rtt_min = min(self.rtt_min or rtt, rtt)
        if self.flags & SockOpFlag.RTT_CB_FLAG:
            sockops.call(self, SockOp.RTT_CB, rtt, self.srtt << 3)

    def _received(self, segment: Segment) -> None:
        self.segs_in += 1
        self.data_segs_in += bool(segment.data)
        if segment.flags & RST:
            if segment.seq == self.rcv_nxt:
                self._reset(errno.EPIPE if self.state == TcpState.CLOSE_WAIT else errno.ECONNRESET)
            return
        if segment.flags & SYN or not segment.flags & ACK:
            return
        if not self._acknowledged(segment) or not segment.span:
            return
        if segment.seq != self.rcv_nxt:  # a part of what it follows was lost
            self._ack()
            return
        if self.orphan and segment.data:
            self._abort()
            self.socket.forget()
            return
        self._data(segment)

    def _acknowledged(self, segment: Segment) -> bool:
        """Take what the other side says of our data. False when the connection ended with it."""
        window = segment.window << SCALE
        self.snd_wnd = window
        if window > self.max_window:
            self.max_window = window
            self._half_window()
        fresh = segment.ack - self.snd_una & _U32
        if fresh and fresh <= self.snd_nxt - self.snd_una & _U32:
            self.snd_una = segment.ack
            self.acked += fresh
            left = self.snd_nxt - self.snd_una & _U32
            self.packets_out = -(-left // self.mss)
            self._measured()
        if self.snd_una != self.snd_nxt:
            return True
        if self.state == TcpState.FIN_WAIT1:
            self.set_state(TcpState.FIN_WAIT2)
            if self.orphan and not segment.span:
                self.set_state(TcpState.CLOSE)
                self.rest = True
                return False
        elif self.state in (TcpState.LAST_ACK, TcpState.CLOSING):
            self._done()
            return False
        return True

    def _data(self, segment: Segment) -> None:
        """Data, or the end of it, that comes next."""
        self.rcv_nxt = self.rcv_nxt + segment.span & _U32
        self.received += segment.span
        self.queue += segment.data
        if segment.data:
            if not self.heard and not self.quick and not self.pingpong:
                self.quick = _QUICK
            self.heard = True
            self.pushes += 1
        self.delayed = True
        if segment.flags & FIN:
            self.ended = True
            if self.state == TcpState.ESTABLISHED:
                self.set_state(TcpState.CLOSE_WAIT)
                self.pingpong = True
            elif self.state == TcpState.FIN_WAIT1:
                self._ack()
                self.set_state(TcpState.CLOSING)
                return
            elif self.state == TcpState.FIN_WAIT2:
                self._ack()
                self._done()
                return
        much = self.rcv_nxt - self.rcv_wup & _U32 > _DEFAULT_MSS and len(self.queue) <= self.window
        if much or (self.quick and not self.pingpong):
            self._ack()
