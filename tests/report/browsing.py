"""Pages in Chromium."""

DESKTOP = {"width": 1280, "height": 800}


def visit(context, path, *, script=None):
  """Opens a page that must make no request and have no error."""
  page = context.new_page()
  page.faults, page.requests = [], []
  page.on("console", lambda message: page.faults.append(message.text))
  page.on("pageerror", lambda error: page.faults.append(str(error)))
  page.on("request", lambda request: page.requests.append(request.url))
  if script:
    page.add_init_script(script)
  page.goto(path.as_uri())
  return page
