"""The least that django-helpdesk needs: SQLite, its API with tokens, webhooks. Everything that differs comes from the environment."""
import os

FOLDER = os.environ["HELPDESK_FOLDER"]
# Where it posts; with a name and a password in it, these go along as basic authentication.
HOOK = os.environ.get("HELPDESK_HOOK", "")

SECRET_KEY = "only on loopback"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
SITE_ID = 1
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = os.path.join(FOLDER, "media")
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(FOLDER, "helpdesk.sqlite3"),
        "OPTIONS": {"timeout": 30},
    }
}
INSTALLED_APPS = ["django.contrib." + name for name in (
    "admin", "auth", "contenttypes", "sessions", "sites", "humanize", "messages", "staticfiles",
)] + ["rest_framework", "rest_framework.authtoken", "helpdesk"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"]}

HELPDESK_TEAMS_MODE_ENABLED = False
HELPDESK_ACTIVATE_API_ENDPOINT = True
HELPDESK_WEBHOOK_TIMEOUT = 5


def hooks():
    """Both kinds of webhook carry the whole ticket."""
    return [HOOK] if HOOK else []


HELPDESK_GET_NEW_TICKET_WEBHOOK_URLS = hooks
HELPDESK_GET_FOLLOWUP_WEBHOOK_URLS = hooks
