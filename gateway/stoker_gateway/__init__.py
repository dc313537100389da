"""The way in: objective and timeout, hold while cold, choice of variant and agent, answers under overload."""
