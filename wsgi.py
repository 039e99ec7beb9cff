"""`gunicorn wsgi:app`"""

from crmgate import create_app

app = create_app()
