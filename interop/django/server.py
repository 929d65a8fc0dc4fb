"""django-oauth-toolkit with refresh token rotation, on loopback, with a record of its own.

Prints `ready issuer=http://ADDRESS` on standard error. `GET /ledger` tells how often each refresh
token was shown, and how many are good; it never tells a token.
"""

import collections
import hashlib
import io
import json
import os
import socketserver
import sys
import urllib.parse
import wsgiref.simple_server

import django
from django.conf import settings

LOGIN_PAGE = '<form method="post">{% csrf_token %}{{ form }}<button name="go" value="1">Log in</button></form>'

settings.configure(
    SECRET_KEY="for a test",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {
        "ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"],
        "OPTIONS": {"init_command": "PRAGMA synchronous=OFF", "transaction_mode": "IMMEDIATE"},
    }},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request"],
            "loaders": [
                ("django.template.loaders.locmem.Loader", {"registration/login.html": LOGIN_PAGE}),
                "django.template.loaders.app_directories.Loader",
            ],
        },
    }],
    OAUTH2_PROVIDER={
        "SCOPES": {"read": "Read", "write": "Write"},
        "ACCESS_TOKEN_EXPIRE_SECONDS": int(os.environ.get("ACCESS_TOKEN_LIFETIME", "60")),
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
        "REFRESH_TOKEN_REUSE_PROTECTION": os.environ.get("REUSE_PROTECTION") == "1",
        "PKCE_REQUIRED": True,
    },
)  # fmt: skip
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.auth.views import LoginView  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from oauth2_provider.decorators import protected_resource  # noqa: E402
from oauth2_provider.models import get_application_model, get_refresh_token_model  # noqa: E402


@protected_resource()
def me(request):
    return JsonResponse({"user": request.resource_owner.username})


def ledger(_request):
    good = get_refresh_token_model().objects.filter(revoked__isnull=True).count()
    return JsonResponse({
        "token_requests": record.token_requests,
        "refreshes": sum(record.shown.values()),
        "refresh_uses": max(record.shown.values(), default=0),
        "refused": record.refused,
        "good": good,
    })  # fmt: skip


urlpatterns = [
    path("accounts/login/", LoginView.as_view()),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("me", me),
    path("ledger", ledger),
]


class Record:
    """Reads what comes to the token endpoint before the server does."""

    def __init__(self, application):
        self.application = application
        self.shown = collections.Counter()
        self.token_requests = self.refused = 0

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] != "/o/token/":
            return self.application(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        token = urllib.parse.parse_qs(body.decode()).get("refresh_token", [None])[0]
        self.token_requests += 1
        if token:
            self.shown[hashlib.sha256(token.encode()).hexdigest()] += 1

        def respond(status, headers, *rest):
            self.refused += bool(token) and not status.startswith("200")
            return start_response(status, headers, *rest)

        return self.application(environ, respond)


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


call_command("migrate", verbosity=0)
user = get_user_model().objects.create_user("ada", password="lovelace")
application = get_application_model()
for name, kind in (("public", "public"), ("confidential", "confidential")):
    application.objects.create(
        name=name, client_id=name, client_type=kind, client_secret=os.environ["CLIENT_SECRET"],
        authorization_grant_type="authorization-code", redirect_uris="http://127.0.0.1/callback", user=user,
    )  # fmt: skip
record = Record(get_wsgi_application())
server = wsgiref.simple_server.make_server("127.0.0.1", 0, record, server_class=Server, handler_class=Handler)
print(f"ready issuer=http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
server.serve_forever()
