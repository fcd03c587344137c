"""A few notes, kept in the memory of the instance that you reached.

That is on purpose: it shows why a scaled app keeps its data elsewhere. Notes of slot 0 are not in slot 1, and all of
them are gone after a restart. The routing cookie keeps a browser with one instance, so for you they seem to stay.
"""

import itertools
import os
import threading
import time

from flask import Flask, abort, redirect, render_template_string, request, url_for

app = Flask(__name__)
lock = threading.Lock()
notes = {}
ids = itertools.count(1)

MAX_NOTES = 200
MAX_LENGTH = 500

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Notes in slot {{ slot }}</title>
<style>
  body { font: 1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem; color: #222 }
  .warning { background: #fff4d6; padding: .6rem 1rem; border-radius: .4rem }
  li form { display: inline }
</style>
<h1>Notes</h1>
<p class="warning">These notes live in one instance only (slot {{ slot }}) and are gone when it stops.
  Durable data belongs into a database.</p>
<form method="post" action="{{ url_for('add') }}">
  <input name="text" maxlength="{{ max_length }}" required autofocus aria-label="Note"> <button>Add</button>
</form>
<ul>
{% for id, note in notes %}
  <li>{{ note.text }}
    <form method="post" action="{{ url_for('remove', id=id) }}"><button aria-label="Remove">×</button></form>
{% else %}
  <li>None yet.
{% endfor %}
</ul>
</html>
"""


def where():
    return {
        "app": os.environ.get("COPPICE_APP", "flask-notes"),
        "instance": os.environ.get("COPPICE_INSTANCE_ID", "local"),
        "slot": int(os.environ.get("COPPICE_SLOT", "0")),
        "deployment": os.environ.get("COPPICE_DEPLOYMENT", "none"),
    }


@app.get("/")
def index():
    with lock:
        listed = sorted(notes.items(), reverse=True)
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return render_template_string(PAGE, notes=listed, max_length=MAX_LENGTH, **where())
    return {**where(), "notes": [{"id": id, **note} for id, note in listed]}


@app.post("/notes")
def add():
    given = request.get_json() if request.is_json else request.form
    text = str(given.get("text", "")).strip() if hasattr(given, "get") else ""
    if not text or len(text) > MAX_LENGTH:
        abort(400, f"A note has 1 to {MAX_LENGTH} characters.")
    with lock:
        if len(notes) >= MAX_NOTES:
            abort(507, f"There is room for {MAX_NOTES} notes.")
        id = next(ids)
        notes[id] = {"text": text, "at": time.time()}
    if request.is_json:
        return {**where(), "id": id}, 201
    return redirect(url_for("index"), code=303)


@app.post("/notes/<int:id>/remove")
def remove(id):
    with lock:
        notes.pop(id, None)
    return redirect(url_for("index"), code=303)


@app.get("/healthz")
def healthz():
    return "ok\n"
