"""What every process needs: settings, logs, metrics export, health, mTLS, the HTTP client. Knows no policy."""
