"""The web viewer: a page that shows the newest picture, what was found in it and how it is drawn, and takes settings.

Frames come in through `edgex.sinks.web`, which is the only part that the pipeline meets. Two threads of low priority
do the rest: one encodes pictures while somebody looks (`pictures`), one serves (`server`, by Starlette and uvicorn).
"""
