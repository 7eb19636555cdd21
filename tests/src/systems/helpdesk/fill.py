"""What a new helpdesk starts with: the hub's user with a token, a queue, and a field for the hub's key of a ticket."""
import sys

import django

django.setup()

from django.contrib.auth.models import User
from helpdesk.models import CustomField, Queue
from rest_framework.authtoken.models import Token

user = User.objects.create_superuser("hub", "hub@mail.test", "hub")
Token.objects.create(user=user, key=sys.argv[1])
Queue.objects.create(title="Support", slug="support", email_address="support@mail.test")
CustomField.objects.create(name="hub_id", label="Hub", data_type="varchar", max_length=60, required=False, staff_only=True)
