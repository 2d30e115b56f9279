"""A real RTSP server, GStreamer's, as a program for the system's Python: no virtual environment has `gi`.

Usage: rtsp_server.py PORT. It says the port it listens on (0 takes a free one) and obeys lines: `stall` keeps every
connection and sends no picture, `flow` sends again, `lose SHARE` throws that share of the packets away.
"""

from __future__ import annotations

import random
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)
lost_share = 0.0  # 1 is a stall
chance = random.Random(0)


def obey() -> None:
    global lost_share
    for line in sys.stdin:
        words = line.split()
        lost_share = {"stall": 1.0, "flow": 0.0}.get(words[0], float(words[-1]) if words[0] == "lose" else 0.0)
    loop.quit()


def passes(_pad: Gst.Pad, _info: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
    return Gst.PadProbeReturn.DROP if chance.random() < lost_share else Gst.PadProbeReturn.OK


def configure(_factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia) -> None:
    pad = media.get_element().get_by_name("pay0").get_static_pad("src")
    pad.add_probe(Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST, passes)


Gst.init(None)
loop = GLib.MainLoop()
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(LAUNCH)
factory.set_shared(True)
factory.connect("media-configure", configure)
server.get_mount_points().add_factory("/test", factory)
server.attach(None)
sys.stdout.write(f"{server.get_bound_port()}\n")
sys.stdout.flush()
threading.Thread(target=obey, daemon=True).start()
loop.run()
