"""Base models as locked files, and how foreign weights become one."""
